// silu_gate and its gradient as functions of a few values, and the logistic function that they and
// other activations are made of.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <type_traits>

#include "kernels/cuda_element.h"
#include "kernels/cuda_map.h"

namespace weft {

// 1 / (1 + exp(-x)). In f32 by the hardware's reciprocal, whose error is one unit in the last
// place, without the branches of a division. kRough: exp by the hardware's exp2 alone, with a
// relative error of 6e-8 |x| and more: enough where the result is rounded to 16 bits.
template <bool kRough, typename C>
__device__ inline C Logistic(C x) {
  if constexpr (std::is_same_v<C, float>) {
    float power, result;
    if constexpr (kRough) {
      asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * -1.4426950408889634f));
    } else {
      power = std::exp(-x);
    }
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(1.0f + power));
    return result;
  } else {
    return C(1) / (C(1) + std::exp(-x));
  }
}

template <typename T>
inline constexpr bool kRoughIsEnough = !std::is_same_v<T, WideOf<T>>;

// gate, up -> silu(gate) up, for results of type T.
template <typename T>
struct SiluGate {
  __device__ void operator()(const WideOf<T> (&in)[2], WideOf<T> (&out)[1]) const {
    out[0] = in[0] * Logistic<kRoughIsEnough<T>>(in[0]) * in[1];
  }
};

// gate, up, dy -> the gradients of gate and up.
template <typename T>
struct SiluGateGrad {
  __device__ void operator()(const WideOf<T> (&in)[3], WideOf<T> (&out)[2]) const {
    using C = WideOf<T>;
    const C gate = in[0], up = in[1], dy = in[2];
    const C s = Logistic<kRoughIsEnough<T>>(gate);
    const C silu = gate * s;
    out[0] = dy * up * (s + silu * (C(1) - s));
    out[1] = dy * silu;
  }
};

}  // namespace weft
