#include "parallel/estimate_times.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "graph/layout.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/reshard_cost.h"
#include "parallel/reshard_step.h"
#include "runtime/status.h"

namespace weft {
namespace {

int64_t Ticks(double seconds) {
  return std::max<int64_t>(1, std::llround(seconds * kTicksPerSecond));
}

TensorSpec LocalSpec(const Graph& graph, Value v, int index) {
  const ValueInfo& info = graph.info(v);
  return {BoxOf(info.spec.shape, info.layout, graph.mesh(v), index).shape(), info.spec.dtype};
}

}  // namespace

Cost CallCost(const Graph& graph, const LoweredCall& call, int index) {
  if (call.node < 0) return {};
  const Node& node = graph.nodes[call.node];
  std::vector<TensorSpec> inputs, outputs;
  for (Value v : node.inputs) inputs.push_back(v ? LocalSpec(graph, v, index) : TensorSpec{});
  for (Value v : node.outputs) outputs.push_back(LocalSpec(graph, v, index));
  return node.op->cost(CostContext{inputs, outputs, node.attrs});
}

int64_t CallTicks(const Graph& graph, const CostModel& cost, const LoweredCall& call, int index) {
  return Ticks(cost.Seconds(CallCost(graph, call, index)));
}

absl::StatusOr<int64_t> ReshardTicks(const Graph& graph, const CostModel& cost, const Node& node,
                                     int rank) {
  WEFT_ASSIGN_OR_RETURN(const ReshardStep step, StepOf(graph, node));
  const int index = step.to_mesh.IndexOf(rank);
  const int64_t moved = index < 0 ? 0 : LocalSpec(graph, node.outputs[0], index).bytes();
  const double copy = cost.Seconds({.flops = 0, .bytes = 2.0 * static_cast<double>(moved)});
  if (step.kind == ReshardStep::Kind::kLocal) return Ticks(copy);
  return Ticks(LinkOf(step, cost).Seconds(BytesSent(step, graph.spec(node.inputs[0]), rank), 1));
}

absl::Status EstimateTimes(const Graph& graph, const CostModel& cost, LoweredProgram& program) {
  for (LoweredActor& actor : program.actors) {
    actor.ticks = 0;
    for (LoweredCall& call : actor.calls) {
      call.ticks = CallTicks(graph, cost, call, 0);
      actor.ticks += call.ticks;
    }
    if (actor.kind == LoweredActor::Kind::kReshard) {
      WEFT_ASSIGN_OR_RETURN(actor.ticks,
                            ReshardTicks(graph, cost, graph.nodes[actor.node],
                                         graph.meshes[actor.from_mesh].ranks().front()));
    }
    actor.ticks = std::max<int64_t>(actor.ticks, 1);  // host actors: a copy that nothing waits for
  }
  return absl::OkStatus();
}

}  // namespace weft
