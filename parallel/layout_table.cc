#include "parallel/layout_table.h"

#include <algorithm>
#include <limits>

#include "parallel/reshard.h"
#include "runtime/logging.h"

namespace weft {
namespace {

constexpr size_t kMostPermuted = 3;  // wants of which all orders are tried

void AppendInt(int64_t value, std::string& key) {
  key.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

LayoutId LayoutTable::Intern(const TensorSpec& spec, int mesh, const Layout& layout) {
  const Mesh& on = meshes_[mesh];
  Layout plain = layout;
  std::string key;
  for (int a = 0; a < on.num_axes(); ++a) {
    if (on.axes()[a].size == 1) plain[a] = Sbp::B();
    const Sbp& sbp = plain[a];
    key.push_back(static_cast<char>(sbp.kind()));
    key.push_back(static_cast<char>(sbp.dim()));
    key.push_back(
        static_cast<char>(static_cast<int>(sbp.order()) * 8 + static_cast<int>(sbp.monoid())));
  }
  AppendInt(mesh, key);
  AppendInt(static_cast<int64_t>(spec.dtype), key);
  for (int64_t extent : spec.shape) AppendInt(extent, key);
  auto [it, added] = ids_.emplace(std::move(key), static_cast<LayoutId>(entries_.size()));
  if (added) {
    TensorSpec local{BoxOf(spec.shape, plain, on, 0).shape(), spec.dtype};
    entries_.push_back({spec, mesh, std::move(plain), std::move(local)});
  }
  return it->second;
}

LayoutId LayoutTable::Reduced(LayoutId id) {
  Layout layout = entries_[id].layout;
  bool partial = false;
  for (Sbp& sbp : layout) {
    if (!sbp.is_partial()) continue;
    sbp = Sbp::B();
    partial = true;
  }
  if (!partial) return id;
  const TensorSpec spec = entries_[id].spec;
  return Intern(spec, entries_[id].mesh, layout);
}

double LayoutTable::Seconds(LayoutId from, LayoutId to) {
  if (from == to) return 0;
  const uint64_t key = static_cast<uint64_t>(from) << 32 | static_cast<uint32_t>(to);
  auto it = seconds_.find(key);
  if (it != seconds_.end()) return it->second;
  const Entry& a = entries_[from];
  const Entry& b = entries_[to];
  absl::StatusOr<double> seconds =
      ReshardSeconds(a.spec, a.layout, meshes_[a.mesh], b.layout, meshes_[b.mesh], cost_);
  // An illegal layout (a partial bool) is never reached.
  const double result = seconds.ok() ? *seconds : std::numeric_limits<double>::infinity();
  seconds_.emplace(key, result);
  return result;
}

LayoutTable::Hop LayoutTable::CheapestHop(LayoutId to, LayoutId home,
                                          const std::vector<Hop>& hops) {
  Hop best{home, to};
  for (const Hop& hop : hops) {
    if (Seconds(hop.to, to) < Seconds(best.from, to)) best.from = hop.to;
  }
  return best;
}

std::vector<LayoutTable::Hop> LayoutTable::Hops(LayoutId home,
                                                const std::vector<LayoutId>& wanted) {
  std::vector<LayoutId> missing;
  for (LayoutId id : wanted) {
    if (id != home && std::find(missing.begin(), missing.end(), id) == missing.end()) {
      missing.push_back(id);
    }
  }
  std::sort(missing.begin(), missing.end());
  std::vector<Hop> best;
  if (missing.size() > kMostPermuted) {  // each from home or an earlier one
    for (LayoutId to : missing) best.push_back(CheapestHop(to, home, best));
    return best;
  }
  double least = std::numeric_limits<double>::infinity();
  do {
    std::vector<Hop> hops;
    double seconds = 0;
    for (LayoutId to : missing) {
      hops.push_back(CheapestHop(to, home, hops));
      seconds += Seconds(hops.back().from, to);
    }
    if (best.empty() || seconds < least) {
      least = seconds;
      best = std::move(hops);
    }
  } while (std::next_permutation(missing.begin(), missing.end()));
  return best;
}

double LayoutTable::HopSeconds(LayoutId home, const std::vector<LayoutId>& wanted) {
  if (wanted.empty()) return 0;
  if (wanted.size() == 1) return Seconds(home, wanted[0]);
  double seconds = 0;
  for (const Hop& hop : Hops(home, wanted)) seconds += Seconds(hop.from, hop.to);
  return seconds;
}

}  // namespace weft
