// The moments of gradients that adamw and LAMB keep, on CUDA.
#pragma once

#include <cuda_runtime.h>

#include <cmath>

#include "runtime/kernel.h"

namespace weft {

// What the optional scalar "skip" says (kernels/optimizer_infer.h).
__device__ inline bool Skips(const float* skip) { return skip != nullptr && *skip != 0; }
// Where it lies, operand `i` of a call; nullptr if it is not there.
inline const float* SkipOf(const KernelContext& c, int i) {
  return static_cast<int>(c.inputs.size()) > i ? c.in(i).as<float>() : nullptr;
}

// Where the step's scalars lie on the device, and attributes. `lr` is nullptr for LAMB, `skip`
// where no step is skipped.
struct Moments {
  const float* lr;
  const float* step;
  const float* clip;
  const float* skip;
  double beta1, beta2, eps, decay;
  bool correct;
  template <typename P>
  struct Scalars {
    P lr, clip, beta1, beta2, keep1, keep2, eps, decay, correction1, correction2;
    bool skip;
  };
  template <typename P>
  __device__ Scalars<P> Read() const {
    const double t = *step;
    return {lr == nullptr ? P(0) : static_cast<P>(*lr),
            static_cast<P>(*clip),
            static_cast<P>(beta1),
            static_cast<P>(beta2),
            static_cast<P>(1 - beta1),
            static_cast<P>(1 - beta2),
            static_cast<P>(eps),
            static_cast<P>(decay),
            static_cast<P>(correct ? 1 / (1 - pow(beta1, t)) : 1.0),
            static_cast<P>(correct ? 1 / (1 - pow(beta2, t)) : 1.0),
            Skips(skip)};
  }
  // The moments in place of in[1], in[2]; the direction of the step, with decay.
  template <typename P>
  __device__ static P Direction(const Scalars<P>& s, const P (&in)[3], P grad, P& m, P& v) {
    grad *= s.clip;
    m = s.beta1 * in[1] + s.keep1 * grad;
    v = s.beta2 * in[2] + s.keep2 * (grad * grad);
    return m * s.correction1 / (std::sqrt(v * s.correction2) + s.eps) + s.decay * in[0];
  }
};

}  // namespace weft
