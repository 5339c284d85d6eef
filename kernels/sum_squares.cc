// sum_squares(x): the squared L2 norm of the logical tensor, in f64. Split parts are summands; the
// sum in f64 makes norms agree between meshes to about 1e-15. clip_scale turns the sum over all
// gradients into the multiplier of gradient clipping, which takes their loss scale out too.
#include <cmath>

#include "kernels/device_workspace.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/vector_loops.h"
#include "runtime/status.h"

namespace weft {
namespace {

absl::Status SumSquaresCpu(const KernelContext& c) {
  return DispatchFloat(c.in(0).dtype(), [&](auto t) {
    *c.out(0).as<double>() = SumSquaresLoop(c.in(0).as<decltype(t)>(), c.in(0).elements());
  });
}

// The 1e-6 is that of torch.nn.utils.clip_grad_norm_. A norm that is not finite gives scale NaN or
// 0, which the optimizer's update then shows.
absl::Status ClipScaleCpu(const KernelContext& c) {
  const bool scaled = c.inputs.size() > 1 && c.in(1).data != nullptr;
  const double loss_scale = scaled ? *c.in(1).as<float>() : 1;
  const double norm = std::sqrt(*c.in(0).as<double>()) / loss_scale;
  const double max_norm = c.attrs->Float("max_norm");
  double scale = 1;
  if (max_norm > 0) {
    scale = max_norm / (norm + 1e-6);
    if (scale > 1) scale = 1;
  }
  if (c.out(0).data) *c.out(0).as<float>() = static_cast<float>(scale / loss_scale);
  if (c.out(1).data) *c.out(1).as<float>() = static_cast<float>(norm);
  return absl::OkStatus();
}

}  // namespace

void DefineSumSquares(OpRegistry& ops) {
  ops.Add({.name = "sum_squares",
           .inputs = {"x"},
           .outputs = {"y"},
           .infer = [](const InferContext& c) -> InferredSpecs {
             WEFT_RETURN_IF_ERROR(RequireFloat(c.in(0)));
             return std::vector<TensorSpec>{{{}, DType::kF64}};
           },
           .layout =
               [](const LayoutContext& c) {
                 FactorMap map;
                 std::vector<int> x;
                 for (int d = 0; d < c.in(0).rank(); ++d) {
                   x.push_back(map.Add({.name = absl::StrCat("d", d), .reduce = {Monoid::kSum}}));
                 }
                 map.inputs = {x};
                 map.outputs = {{}};
                 return map;
               },
           .cost =
               [](const CostContext& c) {
                 return Cost{.flops = 2.0 * static_cast<double>(c.inputs[0].elements()),
                             .bytes = static_cast<double>(c.bytes())};
               },
           .cuda_workspace = SumSquaresCudaWorkspace,
           .cpu = SumSquaresCpu,
           .takes_narrow = {0}});
}

void DefineClipScale(OpRegistry& ops) {
  ops.Add({.name = "clip_scale",
           // loss_scale: what the gradients are too large by; the norm is what they are without it.
           .inputs = {"sum_sq", "loss_scale?"},
           .outputs = {"scale", "norm"},
           .attrs = {{"max_norm", 0.0}},
           .infer = [](const InferContext& c) -> InferredSpecs {
             WEFT_RETURN_IF_ERROR(RequireSpec(c, 0, {{}, DType::kF64}));
             if (c.num_inputs() > 1) WEFT_RETURN_IF_ERROR(RequireSpec(c, 1, {{}, DType::kF32}));
             const double max_norm = c.attrs.Float("max_norm");
             if (!(max_norm >= 0)) {
               return absl::InvalidArgumentError(
                   absl::StrCat("max_norm must be 0 (off) or positive, got ", max_norm));
             }
             return std::vector<TensorSpec>{{{}, DType::kF32}, {{}, DType::kF32}};
           },
           .layout = [](const LayoutContext& c) { return c.Elementwise(); },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 4); },
           .cpu = ClipScaleCpu});
}

}  // namespace weft
