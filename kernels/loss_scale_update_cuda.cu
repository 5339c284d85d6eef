// loss_scale_update on CUDA.
#include <cmath>

#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"

namespace weft {
namespace {

// Results that nobody reads are nullptr.
struct ScaleResults {
  float *scale, *good_steps, *updates, *skip;
};

struct ScaleRule {
  float growth_every, most;
  bool fixed;
};

// One thread; results may share memory with operands.
__global__ void LossScaleUpdateKernel(const float* scale, const float* good_steps,
                                      const float* updates, const double* sum_sq, ScaleRule rule,
                                      ScaleResults to) {
  const bool skips = !isfinite(*sum_sq);
  float next = *scale;
  float good = skips ? 0 : *good_steps + 1;
  const float counted = *updates + (skips ? 0.0f : 1.0f);
  if (rule.fixed) {
    good = 0;
  } else if (skips) {
    next = fmaxf(next / 2, 1.0f);
  } else if (good >= rule.growth_every) {
    next = fminf(next * 2, rule.most);
    good = 0;
  }
  if (to.scale != nullptr) *to.scale = next;
  if (to.good_steps != nullptr) *to.good_steps = good;
  if (to.updates != nullptr) *to.updates = counted;
  if (to.skip != nullptr) *to.skip = skips ? 1.0f : 0.0f;
}

absl::Status LossScaleUpdateCuda(const KernelContext& c) {
  const ScaleRule rule{static_cast<float>(c.attrs->Int("growth_every")),
                       static_cast<float>(c.attrs->Float("most")), c.attrs->Bool("fixed")};
  const ScaleResults to{c.out(0).as<float>(), c.out(1).as<float>(), c.out(2).as<float>(),
                        c.out(3).as<float>()};
  return Launch(c, &LossScaleUpdateKernel, {1, 1}, c.in(0).as<float>(), c.in(1).as<float>(),
                c.in(2).as<float>(), c.in(3).as<double>(), rule, to);
}

}  // namespace

void AddLossScaleUpdateCuda(KernelTable& kernels) {
  kernels.Add("loss_scale_update", LossScaleUpdateCuda);
}

}  // namespace weft
