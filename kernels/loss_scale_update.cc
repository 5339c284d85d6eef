// loss_scale_update: whether a step of training under a scaled loss counts, and the scale of the
// next (loss scaling: Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2; here
// with a scale that follows what overflows). A sum of squares of gradients that is not finite says
// that a gradient is not.
#include <cmath>

#include "graph/grad_context.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "runtime/status.h"

namespace weft {
namespace {

absl::Status LossScaleUpdateCpu(const KernelContext& c) {
  const bool skips = !std::isfinite(*c.in(3).as<double>());
  float scale = *c.in(0).as<float>();
  float good = skips ? 0 : *c.in(1).as<float>() + 1;
  const float updates = *c.in(2).as<float>() + (skips ? 0.0f : 1.0f);
  if (c.attrs->Bool("fixed")) {
    good = 0;
  } else if (skips) {
    scale = std::fmax(scale / 2, 1.0f);
  } else if (good >= static_cast<float>(c.attrs->Int("growth_every"))) {
    scale = std::fmin(scale * 2, static_cast<float>(c.attrs->Float("most")));
    good = 0;
  }
  const float results[] = {scale, good, updates, skips ? 1.0f : 0.0f};
  for (int i = 0; i < 4; ++i) {
    if (c.out(i).data != nullptr) *c.out(i).as<float>() = results[i];
  }
  return absl::OkStatus();
}

}  // namespace

void DefineLossScaleUpdate(OpRegistry& ops) {
  ops.Add({.name = "loss_scale_update",
           // The scale of this step, the steps since it was changed, and the steps that counted so
           // far; sum_sq of all gradients as they come.
           .inputs = {"scale", "good_steps", "updates", "sum_sq"},
           // The same for the next step, and whether this one is to be skipped, 0 or 1.
           .outputs = {"new_scale", "new_good_steps", "new_updates", "skip"},
           // fixed: the scale stays; most: it grows no further.
           .attrs = {{"growth_every", int64_t{2000}}, {"most", 0x1p40}, {"fixed", false}},
           .infer = [](const InferContext& c) -> InferredSpecs {
             const TensorSpec scalar{{}, DType::kF32};
             for (int i : {0, 1, 2}) WEFT_RETURN_IF_ERROR(RequireSpec(c, i, scalar));
             WEFT_RETURN_IF_ERROR(RequireSpec(c, 3, {{}, DType::kF64}));
             const int64_t every = c.attrs.Int("growth_every");
             if (every < 1) {
               return absl::InvalidArgumentError(
                   absl::StrCat("growth_every must be 1 or more steps, got ", every));
             }
             const double most = c.attrs.Float("most");
             if (!(most >= 1)) {
               return absl::InvalidArgumentError(
                   absl::StrCat("most must be 1 or more, got ", most));
             }
             return std::vector<TensorSpec>(4, scalar);
           },
           .layout = [](const LayoutContext& c) { return c.Elementwise(); },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 2); },
           .cpu = LossScaleUpdateCpu,
           .in_place = {{0, 0}, {1, 1}, {2, 2}}});
}

}  // namespace weft
