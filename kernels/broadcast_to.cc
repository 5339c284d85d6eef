// broadcast_to: x repeated along new leading dimensions and along dimensions of extent 1.
#include "graph/grad_context.h"
#include "kernels/infer.h"
#include "kernels/movement.h"
#include "kernels/op_list.h"
#include "runtime/status.h"

namespace weft {
namespace {

absl::Status BroadcastToCpu(const KernelContext& c) {
  const Operand& y = c.out(0);
  return DispatchSize(SizeOf(y.dtype()), [&](auto t) {
    using T = decltype(t);
    CopyStrided(c.in(0).as<T>(), BroadcastStrides(c.in(0), y), y.as<T>(), DenseStrides(y.shape),
                y.shape);
  });
}

InferredSpecs InferBroadcastTo(const InferContext& c) {
  const std::vector<int64_t>& shape = c.attrs.Ints("shape");
  WEFT_RETURN_IF_ERROR(RequireExtents(shape));
  TensorSpec y{Shape(shape.begin(), shape.end()), c.in(0).dtype};
  const absl::StatusOr<Shape> both = BroadcastShape(c.in(0), y);
  if (!both.ok() || *both != y.shape) {
    return absl::InvalidArgumentError(
        absl::StrCat(c.in(0).ToString(), " does not broadcast to ", y.ToString()));
  }
  return std::vector<TensorSpec>{y};
}

}  // namespace

void DefineBroadcastTo(OpRegistry& ops) {
  ops.Add({.name = "broadcast_to",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"shape", std::vector<int64_t>()}},
           .infer = InferBroadcastTo,
           .layout =
               [](const LayoutContext& c) {
                 FactorMap map = c.Elementwise();
                 AddMovementLinearity(map, {0});
                 return map;
               },
           .gradient = [](GradContext& g) -> std::vector<Value> {
             return {g.ReduceTo(g.output_grad(0), g.spec(g.input(0)))};
           },
           .cost = MovementCost,
           .cpu = BroadcastToCpu});
}

}  // namespace weft
