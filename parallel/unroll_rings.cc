#include "parallel/unroll_rings.h"

#include <utility>
#include <vector>

#include "graph/ring_context.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/reshard_cost.h"
#include "parallel/reshard_step.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Whether one of the values is split over the axis along a dimension that carries the factor.
bool IsSplit(const std::vector<std::vector<int>>& dims, const std::vector<Layout>& layouts,
             int factor, int axis) {
  for (size_t i = 0; i < dims.size() && i < layouts.size(); ++i) {
    if (layouts[i].empty() || !layouts[i][axis].is_split()) continue;
    const size_t dim = static_cast<size_t>(layouts[i][axis].dim());
    if (dim < dims[i].size() && dims[i][dim] == factor) return true;
  }
  return false;
}

// The mesh axes over which the node's operands are to travel.
std::vector<int> RingAxes(const Graph& graph, const Node& node) {
  const std::vector<TensorSpec> inputs = InputSpecs(graph, node);
  const std::vector<TensorSpec> outputs = OutputSpecs(graph, node);
  const FactorMap map = node.op->layout(LayoutContext{{inputs, node.attrs}, outputs});
  const Mesh& mesh = graph.mesh(node.outputs[0]);
  std::vector<int> axes;
  for (int a = 0; a < mesh.num_axes(); ++a) {
    if (mesh.axes()[a].size == 1) continue;
    for (int f = 0; f < static_cast<int>(map.factors.size()); ++f) {
      const int met = map.factors[f].meets;
      if (met >= 0 && IsSplit(map.inputs, node.input_layouts, f, a) &&
          IsSplit(map.inputs, node.input_layouts, met, a)) {
        axes.push_back(a);
      }
    }
  }
  return axes;
}

absl::Status Report(const Graph& graph, const Node& conversion, const PassContext& context) {
  if (context.conversions == nullptr) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const ReshardStep step, StepOf(graph, conversion));
  const ValueInfo& info = graph.info(conversion.inputs[0]);
  Conversion row;
  row.value = info.name;
  row.consumer = conversion.reason;
  row.from = ToString(step.from, step.from_mesh);
  row.to = ToString(step.to, step.to_mesh);
  row.how = step.ToString();
  row.bytes = TotalBytesSent(step, info.spec);
  row.seconds = StepSeconds(step, info.spec, context.cost);
  row.microbatch = info.rate == Rate::kMicrobatch;
  row.asked = true;  // by who laid the sequence over the axis
  context.conversions->push_back(std::move(row));
  return absl::OkStatus();
}

}  // namespace

absl::Status UnrollRings(Graph& graph, const PassContext& context) {
  std::vector<Node> nodes;
  const std::vector<Node> before = std::move(graph.nodes);
  for (const Node& node : before) {
    std::vector<int> axes;
    if (!node.is_reshard() && node.op->unroll != nullptr) axes = RingAxes(graph, node);
    if (axes.empty()) {
      nodes.push_back(node);
      continue;
    }
    RingContext ring(graph, context.ops, node, std::move(axes));
    node.op->unroll(ring);
    absl::StatusOr<std::vector<Node>> unrolled = ring.Finish();
    if (!unrolled.ok()) return Annotate(unrolled.status(), node.name);
    for (Node& made : *unrolled) {
      if (made.is_reshard()) WEFT_RETURN_IF_ERROR(Report(graph, made, context));
      nodes.push_back(std::move(made));
    }
  }
  graph.nodes = std::move(nodes);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const std::vector<Value>& outputs = graph.nodes[n].outputs;
    for (size_t k = 0; k < outputs.size(); ++k) {
      graph.info(outputs[k]).node = static_cast<int>(n);
      graph.info(outputs[k]).output = static_cast<int>(k);
    }
  }
  return absl::OkStatus();
}

}  // namespace weft
