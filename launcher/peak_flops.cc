#include "launcher/peak_flops.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include "runtime/arena.h"

namespace weft {
namespace {

constexpr int64_t kExtent = 512;
constexpr double kMeasureSeconds = 0.05;

}  // namespace

double MeasurePeakFlops(const OpRegistry& ops, const KernelTable& kernels, DType dtype) {
  using Clock = std::chrono::steady_clock;
  const OpDef* op = ops.Find("einsum");
  const Kernel kernel = kernels.Find("einsum");
  if (op == nullptr || kernel == nullptr) return 0;
  const TensorSpec spec{{kExtent, kExtent}, dtype};
  const std::vector<TensorSpec> inputs = {spec, spec}, outputs = {spec};
  const Attrs attrs = {{"equation", "ij,jk->ik"}};
  const CostContext cost{inputs, outputs, attrs};
  const int64_t workspace = op->workspace == nullptr ? 0 : op->workspace(cost);
  absl::StatusOr<Arena> memory = Arena::Allocate(3 * spec.bytes() + workspace);
  if (!memory.ok()) return 0;
  // Numbers near 1: zeros and subnormal ones may be faster or slower than what models multiply.
  // In bf16 it is 1; in f32 two of them are a number near 1.
  std::fill_n(reinterpret_cast<uint16_t*>(memory->data()), spec.bytes(), uint16_t{0x3f80});
  const Box box = Box::Whole(spec.shape);
  std::vector<Operand> operands;
  for (int i = 0; i < 3; ++i) {
    operands.push_back({memory->data() + i * spec.bytes(), &spec, &box, spec.shape});
  }
  KernelContext context;
  context.inputs = absl::MakeConstSpan(operands).subspan(0, 2);
  context.outputs = absl::MakeConstSpan(operands).subspan(2);
  context.attrs = &attrs;
  context.workspace = memory->data() + 3 * spec.bytes();
  context.workspace_bytes = workspace;
  if (!kernel(context).ok()) return 0;  // also warms up
  double best = std::numeric_limits<double>::infinity(), spent = 0;
  while (spent < kMeasureSeconds) {
    const Clock::time_point begin = Clock::now();
    if (!kernel(context).ok()) return 0;
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::min(best, seconds);
    spent += seconds;
  }
  return op->cost(cost).flops / best;
}

double ModelFlops(const Graph& graph, int64_t microbatches) {
  double flops = 0;
  for (const Node& node : graph.nodes) {
    if (node.is_reshard() || node.outputs.empty()) continue;
    const std::vector<TensorSpec> inputs = InputSpecs(graph, node);
    const std::vector<TensorSpec> outputs = OutputSpecs(graph, node);
    const bool microbatch = std::any_of(node.inputs.begin(), node.inputs.end(), [&](Value v) {
      return v && graph.info(v).rate == Rate::kMicrobatch;
    });
    flops += node.op->cost(CostContext{inputs, outputs, node.attrs}).flops *
             static_cast<double>(microbatch ? microbatches : 1);
  }
  return flops;
}

}  // namespace weft
