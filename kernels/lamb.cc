// LAMB (You et al., "Large Batch Optimization for Deep Learning", ICLR 2020, Algorithm 2) in two
// ops: lamb_update makes the moments and u = mhat / (sqrt(vhat) + eps) + wd * p; lamb_apply scales
// u by the ratio ||p|| / ||u|| of the logical tensors, whose squares sum_squares makes in between.
#include <cmath>

#include "graph/grad_context.h"
#include "kernels/op_list.h"
#include "kernels/optimizer_infer.h"

namespace weft {
namespace {

absl::Status LambUpdateCpu(const KernelContext& c) {
  if (Skips(c, 6)) {
    for (int i : {0, 1}) Keep(c, i + 1, i);
    const Operand& u = c.out(2);  // all bits zero is 0
    if (u.data != nullptr) std::memset(u.data, 0, u.elements() * SizeOf(u.dtype()));
    return absl::OkStatus();
  }
  return DispatchOptimizer(c.in(0).dtype(), c.in(3).dtype(), [&](auto p, auto g) {
    using P = decltype(p);
    using G = decltype(g);
    const double step = *c.in(4).as<float>();
    const double b1 = c.attrs->Float("beta1"), b2 = c.attrs->Float("beta2");
    const bool correct = c.attrs->Bool("bias_correction");
    const P clip = *c.in(5).as<float>();
    const P beta1 = static_cast<P>(b1), beta2 = static_cast<P>(b2);
    const P keep1 = static_cast<P>(1 - b1), keep2 = static_cast<P>(1 - b2);
    const P correction1 = static_cast<P>(correct ? 1 / (1 - std::pow(b1, step)) : 1);
    const P correction2 = static_cast<P>(correct ? 1 / (1 - std::pow(b2, step)) : 1);
    const P eps = static_cast<P>(c.attrs->Float("eps"));
    const P decay = static_cast<P>(c.attrs->Float("weight_decay"));
    const P* param = c.in(0).as<P>();
    const P* m = c.in(1).as<P>();
    const P* v = c.in(2).as<P>();
    const G* grad = c.in(3).as<G>();
    P* new_m = c.out(0).as<P>();
    P* new_v = c.out(1).as<P>();
    P* u = c.out(2).as<P>();
    const int64_t n = c.in(0).elements();
    for (int64_t i = 0; i < n; ++i) {
      const P step_grad = Load(grad[i]) * clip;
      const P mi = beta1 * m[i] + keep1 * step_grad;
      const P vi = beta2 * v[i] + keep2 * step_grad * step_grad;
      if (u) u[i] = mi * correction1 / (std::sqrt(vi * correction2) + eps) + decay * param[i];
      if (new_m) new_m[i] = mi;
      if (new_v) new_v[i] = vi;
    }
  });
}

absl::Status LambApplyCpu(const KernelContext& c) {
  if (Skips(c, 5)) {
    Keep(c, 0, 0);
    return absl::OkStatus();
  }
  return DispatchOptimizer(c.in(0).dtype(), c.in(1).dtype(), [&](auto p, auto) {
    using P = decltype(p);
    const double param_norm = std::sqrt(*c.in(2).as<double>());
    const double u_norm = std::sqrt(*c.in(3).as<double>());
    // A zero parameter would never move, and a zero u has no direction.
    const double ratio = param_norm > 0 && u_norm > 0 ? param_norm / u_norm : 1;
    const P rate = static_cast<P>(*c.in(4).as<float>() * ratio);
    const P* param = c.in(0).as<P>();
    const P* u = c.in(1).as<P>();
    P* y = c.out(0).as<P>();
    const int64_t n = c.in(0).elements();
    for (int64_t i = 0; i < n; ++i) y[i] = param[i] - rate * u[i];
  });
}

}  // namespace

void DefineLamb(OpRegistry& ops) {
  ops.Add({.name = "lamb_update",
           .inputs = {"param", "m", "v", "grad", "step", "clip", "skip?"},
           .outputs = {"new_m", "new_v", "u"},
           .attrs = {{"beta1", 0.9},
                     {"beta2", 0.999},
                     {"eps", 1e-6},
                     {"weight_decay", 0.01},
                     {"bias_correction", true}},
           .infer = [](const InferContext& c) -> InferredSpecs {
             WEFT_RETURN_IF_ERROR(CheckOptimizerInputs(c, 2, 2));
             return std::vector<TensorSpec>(3, c.in(0));
           },
           .layout = [](const LayoutContext& c) { return c.Elementwise(); },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 14); },
           .cpu = LambUpdateCpu,
           .in_place = {{1, 0}, {2, 1}},
           .takes_narrow = {3}});
  ops.Add({.name = "lamb_apply",
           .inputs = {"param", "u", "param_sq", "u_sq", "lr", "skip?"},
           .outputs = {"new_param"},
           .infer = [](const InferContext& c) -> InferredSpecs {
             if (c.in(0).dtype != DType::kF64) {
               WEFT_RETURN_IF_ERROR(RequireSpec(c, 0, {c.in(0).shape, DType::kF32}));
             }
             WEFT_RETURN_IF_ERROR(RequireSpec(c, 1, c.in(0)));
             for (int i : {2, 3}) WEFT_RETURN_IF_ERROR(RequireSpec(c, i, {{}, DType::kF64}));
             for (int i = 4; i < c.num_inputs(); ++i) {
               WEFT_RETURN_IF_ERROR(RequireSpec(c, i, {{}, DType::kF32}));
             }
             return c.Like(0);
           },
           .layout = [](const LayoutContext& c) { return c.Elementwise(); },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 2); },
           .cpu = LambApplyCpu,
           .in_place = {{0, 0}, {1, 0}}});
}

}  // namespace weft
