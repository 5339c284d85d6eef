#include "graph/layout.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/reduce.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Part `part` of n indices cut in `parts`, the first n mod parts one longer.
Interval Even(int64_t n, int64_t part, int64_t parts) {
  const int64_t base = n / parts, extra = n % parts;
  const int64_t begin = part * base + std::min(part, extra);
  return {begin, begin + base + (part < extra ? 1 : 0)};
}

}  // namespace

Layout BroadcastLayout(const Mesh& mesh) { return Layout(mesh.num_axes(), Sbp::B()); }

std::string ToString(const Layout& layout, const Mesh& mesh) {
  std::string text = "[";
  for (size_t a = 0; a < layout.size(); ++a) {
    absl::StrAppend(&text, a ? ", " : "", mesh.axes()[a].name, ":", layout[a].ToString());
  }
  return text + "]";
}

absl::StatusOr<Layout> ParseLayout(std::string_view text, const Mesh& mesh) {
  absl::string_view rest = absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size()));
  if (!absl::ConsumePrefix(&rest, "[") || !absl::ConsumeSuffix(&rest, "]")) {
    return absl::InvalidArgumentError(
        absl::StrCat("layout '", std::string(text), "' must look like [data:S(0), model:B]"));
  }
  Layout layout = BroadcastLayout(mesh);
  std::vector<bool> named(layout.size(), false);
  for (absl::string_view part : absl::StrSplit(rest, ',', absl::SkipWhitespace())) {
    const std::vector<std::string> pair = absl::StrSplit(part, absl::MaxSplits(':', 1));
    const std::string axis_name(absl::StripAsciiWhitespace(pair[0]));
    const int axis = mesh.FindAxis(axis_name);
    if (pair.size() != 2 || axis < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "layout '", std::string(text), "': '", axis_name, "' is not an axis of mesh {",
          mesh.ToString(), "}; use its axes, or write [] for none"));
    }
    if (named[axis]) {
      return absl::InvalidArgumentError(absl::StrCat("layout '", std::string(text),
                                                     "' names axis '", axis_name,
                                                     "' twice; say one thing of it"));
    }
    named[axis] = true;
    WEFT_ASSIGN_OR_RETURN(layout[axis], Sbp::Parse(pair[1]));
  }
  return layout;
}

absl::Status CheckLayout(const Layout& layout, const Mesh& mesh, const TensorSpec& spec) {
  if (static_cast<int>(layout.size()) != mesh.num_axes()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a layout of ", layout.size(), " entries on mesh ", mesh.ToString()));
  }
  const auto where = [&] { return absl::StrCat(ToString(layout, mesh), " of ", spec.ToString()); };
  for (const Sbp& sbp : layout) {
    if (sbp.is_split() && sbp.dim() >= spec.rank()) {
      return absl::InvalidArgumentError(absl::StrCat(where(), ": the tensor has no dimension ",
                                                     sbp.dim(), "; it has ", spec.rank(),
                                                     ", counted from 0"));
    }
    if (!sbp.is_partial()) continue;
    const absl::Status reducible = CheckReducible(spec.dtype, sbp.monoid());
    if (!reducible.ok()) return Annotate(reducible, where());
  }
  return absl::OkStatus();
}

IndexSet PartOf(const IndexSet& whole, int part, int parts, IndexOrder order) {
  const int64_t n = whole.size();
  if (order == IndexOrder::kContiguous) return whole.Slice(Even(n, part, parts));
  IndexSet result;
  for (int64_t chunk : {static_cast<int64_t>(part), int64_t{2} * parts - 1 - part}) {
    const IndexSet piece = whole.Slice(Even(n, chunk, int64_t{2} * parts));
    for (const Interval& i : piece.intervals()) result.Append(i);
  }
  return result;
}

IndexSet HeldBy(const IndexSet& whole, int coordinate, int parts, Sbp split) {
  const Turn turn = split.turn();
  const int part = coordinate + turn.steps;
  if (turn.reach < 0) {
    return PartOf(whole, ((part % parts) + parts) % parts, parts, split.order());
  }
  if (part < 0 || part >= parts) return IndexSet();
  const IndexSet own = PartOf(whole, coordinate, parts, split.order());
  if (own.size() == 0) return IndexSet();
  const int64_t first = own.begin(), last = own.ToLogical(own.size() - 1);
  return PartOf(whole, part, parts, split.order())
      .Intersect(IndexSet({std::max<int64_t>(first - turn.reach, 0), last + 1 + turn.reach}));
}

Box BoxOf(absl::Span<const int64_t> shape, const Layout& layout, const Mesh& mesh, int index) {
  Box box = Box::Whole(shape);
  for (int a = 0; a < mesh.num_axes(); ++a) {
    if (!layout[a].is_split()) continue;
    IndexSet& dim = box.dims[layout[a].dim()];
    dim = HeldBy(dim, mesh.Coordinate(index, a), mesh.axes()[a].size, layout[a]);
  }
  return box;
}

}  // namespace weft
