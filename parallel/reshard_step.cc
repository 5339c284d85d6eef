#include "parallel/reshard_step.h"

#include "absl/strings/str_cat.h"
#include "parallel/reshard_map.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Axes on which two layouts of one mesh differ; axes of size 1 never do.
absl::InlinedVector<int, 3> Differences(const Layout& a, const Layout& b, const Mesh& mesh) {
  absl::InlinedVector<int, 3> axes;
  for (int i = 0; i < mesh.num_axes(); ++i) {
    if (mesh.axes()[i].size > 1 && a[i] != b[i]) axes.push_back(i);
  }
  return axes;
}

// The axis that a lone all-reduce would reduce, or -1. Axes after it that are partial by another
// monoid must be reduced before.
int AllReduceAxis(const Layout& from, const Layout& to, const Mesh& mesh) {
  const auto axes = Differences(from, to, mesh);
  if (axes.size() != 1 || !from[axes[0]].is_partial() || !to[axes[0]].is_broadcast()) return -1;
  for (int i = axes[0] + 1; i < mesh.num_axes(); ++i) {
    if (mesh.axes()[i].size > 1 && from[i].is_partial() &&
        from[i].monoid() != from[axes[0]].monoid()) {
      return -1;
    }
  }
  return axes[0];
}

}  // namespace

std::string ReshardStep::ToString() const {
  switch (kind) {
    case Kind::kLocal: return "local";
    case Kind::kAllReduce: return absl::StrCat("all-reduce over ", from_mesh.axes()[axis].name);
    case Kind::kExchange: return "exchange";
  }
  return "?";
}

bool SameHolding(const Layout& a, const Layout& b, const Mesh& mesh) {
  return Differences(a, b, mesh).empty();
}

absl::StatusOr<ReshardStep> MakeReshardStep(const TensorSpec& spec, const Layout& from,
                                            const Mesh& from_mesh, const Layout& to,
                                            const Mesh& to_mesh) {
  WEFT_RETURN_IF_ERROR(CheckLayout(from, from_mesh, spec));
  WEFT_RETURN_IF_ERROR(CheckLayout(to, to_mesh, spec));
  ReshardStep step{ReshardStep::Kind::kLocal, from, from_mesh, to, to_mesh, -1};
  if (step.same_mesh()) {
    if (SameHolding(from, to, from_mesh)) return step;
    step.axis = AllReduceAxis(from, to, from_mesh);
    if (step.axis >= 0) {
      step.kind = ReshardStep::Kind::kAllReduce;
      return step;
    }
  }
  const ReshardMap map(spec.shape, step);
  if (!map.legal()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "no single step from ", ToString(from, from_mesh), " to ", ToString(to, to_mesh)));
  }
  if (!map.IsLocal()) step.kind = ReshardStep::Kind::kExchange;
  return step;
}

absl::StatusOr<ReshardStep> StepOf(const Graph& graph, const Node& node) {
  const Value from = node.inputs[0], to = node.outputs[0];
  return MakeReshardStep(graph.spec(from), graph.info(from).layout, graph.mesh(from),
                         graph.info(to).layout, graph.mesh(to));
}

}  // namespace weft
