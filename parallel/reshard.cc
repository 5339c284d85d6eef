#include "parallel/reshard.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "parallel/reshard_cost.h"
#include "runtime/status.h"

namespace weft {
namespace {

struct Place {
  Layout layout;
  const Mesh* mesh;
};

// Paths whose durations differ by less than this part are as quick as each other.
constexpr double kSameSeconds = 1e-9;

// The dimension with the longest local extent under `layout`, or -1 for a scalar.
int LongestDim(const TensorSpec& spec, const Layout& layout, const Mesh& mesh) {
  int best = -1;
  int64_t longest = 1;
  for (int d = 0; d < spec.rank(); ++d) {
    int64_t extent = spec.shape[d];
    for (int a = 0; a < mesh.num_axes(); ++a) {
      if (layout[a].is_split(d)) extent /= mesh.axes()[a].size;
    }
    if (extent > longest) {
      longest = extent;
      best = d;
    }
  }
  return best;
}

// The outermost dimension, whose parts are runs of memory, if it splits evenly over the axes that
// are partial; else -1.
int RunsDim(const TensorSpec& spec, const Layout& layout, const Mesh& mesh) {
  int64_t parts = 1;
  for (int a = 0; a < mesh.num_axes(); ++a) {
    if (layout[a].is_partial()) parts *= mesh.axes()[a].size;
  }
  for (int d = 0; d < spec.rank(); ++d) {
    int64_t pieces = 1;
    for (int a = 0; a < mesh.num_axes(); ++a) {
      if (layout[a].is_split(d)) pieces *= mesh.axes()[a].size;
    }
    if (spec.shape[d] == pieces) continue;  // of one element here
    return spec.shape[d] % (pieces * parts) == 0 ? d : -1;
  }
  return -1;
}

void AddUnique(Sbp sbp, std::vector<Sbp>& options) {
  if (std::find(options.begin(), options.end(), sbp) == options.end()) options.push_back(sbp);
}

bool HasMixedMonoids(const Layout& layout) {
  const Sbp* first = nullptr;
  for (const Sbp& sbp : layout) {
    if (!sbp.is_partial()) continue;
    if (first != nullptr && sbp != *first) return true;
    first = &sbp;
  }
  return false;
}

// All combinations of the axes' options, after those already in `places`.
void AddProduct(const std::vector<std::vector<Sbp>>& options, const Mesh& mesh,
                std::vector<Place>& places) {
  std::vector<Layout> layouts = {Layout()};
  for (const std::vector<Sbp>& axis : options) {
    std::vector<Layout> longer;
    for (const Layout& layout : layouts) {
      for (const Sbp& sbp : axis) {
        longer.push_back(layout);
        longer.back().push_back(sbp);
      }
    }
    layouts = std::move(longer);
  }
  for (Layout& layout : layouts) {
    // Products differ from each other; the two ends are there already.
    const bool known = std::any_of(places.begin(), places.begin() + 2, [&](const Place& place) {
      return place.mesh == &mesh && place.layout == layout;
    });
    if (!known) places.push_back({std::move(layout), &mesh});
  }
}

// Where a path may pass: place 0 is the start, place 1 the end.
std::vector<Place> Places(const TensorSpec& spec, const Layout& from, const Mesh& from_mesh,
                          const Layout& to, const Mesh& to_mesh, bool same_mesh) {
  const Mesh& end_mesh = same_mesh ? from_mesh : to_mesh;
  std::vector<Place> places = {{from, &from_mesh}, {to, &end_mesh}};
  const int runs_dim = RunsDim(spec, from, from_mesh);
  const int from_dim = LongestDim(spec, from, from_mesh);
  const int to_dim = LongestDim(spec, to, to_mesh);
  const bool mixed = HasMixedMonoids(from);
  // What partials are scattered over: a dimension whose parts are runs, the longest, or those that
  // the end splits.
  std::vector<Sbp> scattered = {Sbp::B()};
  for (int dim : {runs_dim, from_dim}) {
    if (dim >= 0) AddUnique(Sbp::S(dim), scattered);
  }
  for (const Sbp& sbp : to) {
    if (sbp.is_split()) AddUnique(sbp, scattered);
  }
  std::vector<std::vector<Sbp>> options;
  for (int a = 0; a < from_mesh.num_axes(); ++a) {
    options.push_back({from[a]});
    if (same_mesh) {
      AddUnique(to[a], options.back());
    } else {
      AddUnique(Sbp::B(), options.back());
      for (const Sbp& sbp : to) {  // a split may become partial where it is
        if (sbp.is_partial()) AddUnique(sbp, options.back());
      }
    }
    if (from[a].is_partial() && (mixed || !same_mesh || to[a] != from[a])) {
      for (const Sbp& sbp : scattered) AddUnique(sbp, options.back());
    }
  }
  AddProduct(options, from_mesh, places);
  if (same_mesh) return places;
  options.clear();
  for (int a = 0; a < to_mesh.num_axes(); ++a) {
    options.push_back({to[a]});
    if (!to[a].is_split() && to_dim >= 0) AddUnique(Sbp::S(to_dim), options.back());
    // Parts may cross as they are, to be gathered or exchanged where they arrive.
    for (const Sbp& sbp : from) {
      if (sbp.is_split()) AddUnique(sbp, options.back());
    }
  }
  AddProduct(options, to_mesh, places);
  return places;
}

struct Path {
  std::vector<ReshardStep> steps;
  double seconds = 0;
};

absl::StatusOr<Path> ShortestPath(const TensorSpec& spec, const std::vector<Place>& places,
                                  const CostModel& cost) {
  const double infinity = std::numeric_limits<double>::infinity();
  const int n = static_cast<int>(places.size());
  std::vector<double> seconds(n, infinity);
  std::vector<int64_t> bytes(n, 0);
  std::vector<bool> settled(n, false);
  std::vector<int> before(n, -1);
  std::vector<ReshardStep> arrival(n);
  // What it takes at least to arrive at a place, and from there at the end.
  std::vector<double> least(n, 0);
  for (int i = 1; i < n; ++i) {
    least[i] = LeastSeconds(places[i].layout, *places[i].mesh, spec, cost);
    if (i > 1) least[i] += least[1];
  }
  seconds[0] = 0;
  while (true) {
    int here = -1;
    for (int i = 0; i < n; ++i) {
      if (!settled[i] && seconds[i] < infinity && (here < 0 || seconds[i] < seconds[here]))
        here = i;
    }
    if (here < 0 || here == 1) break;
    settled[here] = true;
    for (int next = 1; next < n; ++next) {
      if (settled[next]) continue;
      if (seconds[here] + least[next] > seconds[1]) continue;  // no better way to the end
      // Meshes are crossed once, forwards.
      if (places[here].mesh != places[next].mesh && places[next].mesh != places[1].mesh) continue;
      absl::StatusOr<ReshardStep> step = MakeReshardStep(
          spec, places[here].layout, *places[here].mesh, places[next].layout, *places[next].mesh);
      if (absl::IsFailedPrecondition(step.status())) continue;
      WEFT_RETURN_IF_ERROR(step.status());
      const StepPrice price = PriceOf(*step, spec, cost);
      const double arrive = seconds[here] + price.seconds;
      const int64_t sent = bytes[here] + price.bytes;
      // Of two ways that take equally long, the one with fewer bytes.
      const double margin = kSameSeconds * arrive;
      if (arrive < seconds[next] - margin ||
          (arrive < seconds[next] + margin && sent < bytes[next])) {
        seconds[next] = arrive;
        bytes[next] = sent;
        before[next] = here;
        arrival[next] = *std::move(step);
      }
    }
  }
  if (before[1] < 0) return absl::InternalError("no path between two layouts");
  Path path;
  path.seconds = seconds[1];
  for (int at = 1; at != 0; at = before[at]) path.steps.push_back(std::move(arrival[at]));
  std::reverse(path.steps.begin(), path.steps.end());
  return path;
}

absl::StatusOr<Path> FindPath(const TensorSpec& spec, const Layout& from, const Mesh& from_mesh,
                              const Layout& to, const Mesh& to_mesh, const CostModel& cost) {
  WEFT_RETURN_IF_ERROR(CheckLayout(from, from_mesh, spec));
  WEFT_RETURN_IF_ERROR(CheckLayout(to, to_mesh, spec));
  const bool same_mesh = from_mesh == to_mesh;
  if (same_mesh && SameHolding(from, to, from_mesh)) return Path();
  return ShortestPath(spec, Places(spec, from, from_mesh, to, to_mesh, same_mesh), cost);
}

}  // namespace

absl::StatusOr<std::vector<ReshardStep>> PlanReshard(const TensorSpec& spec, const Layout& from,
                                                     const Mesh& from_mesh, const Layout& to,
                                                     const Mesh& to_mesh, const CostModel& cost) {
  WEFT_ASSIGN_OR_RETURN(Path path, FindPath(spec, from, from_mesh, to, to_mesh, cost));
  return std::move(path.steps);
}

absl::StatusOr<double> ReshardSeconds(const TensorSpec& spec, const Layout& from,
                                      const Mesh& from_mesh, const Layout& to, const Mesh& to_mesh,
                                      const CostModel& cost) {
  WEFT_ASSIGN_OR_RETURN(Path path, FindPath(spec, from, from_mesh, to, to_mesh, cost));
  return path.seconds;
}

}  // namespace weft
