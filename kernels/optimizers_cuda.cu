// sgd and LAMB's two ops on CUDA: one pass over parameter, states and gradient. The step's scalars
// lie in device memory; each block makes what follows from them once.
#include <cmath>

#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_moments.h"

namespace weft {
namespace {

// Parameter and states of type P, then the gradient; results that nobody reads are nullptr.
template <typename P, typename G, int kIn, int kOut>
struct OptimizerOperands {
  const P* in[kIn];
  const G* grad;
  P* out[kOut];
};

template <int N, typename P, typename G, int kIn, int kOut, typename Rule>
__device__ inline void Update(const OptimizerOperands<P, G, kIn, kOut>& p,
                              const typename Rule::template Scalars<P>& s, int64_t at) {
  P in[kIn][N], out[kOut][N];
  WideOf<G> grad[N];
#pragma unroll
  for (int k = 0; k < kIn; ++k) LoadPack<N>(p.in[k] + at, in[k]);
  LoadPack<N>(p.grad + at, grad);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    P x[kIn], y[kOut];
#pragma unroll
    for (int k = 0; k < kIn; ++k) x[k] = in[k][i];
    Rule::Step(s, x, static_cast<P>(grad[i]), y);
#pragma unroll
    for (int k = 0; k < kOut; ++k) out[k][i] = y[k];
  }
#pragma unroll
  for (int k = 0; k < kOut; ++k) {
    if (p.out[k] != nullptr) StorePack<N>(out[k], p.out[k] + at);
  }
}

template <int N, typename P, typename G, int kIn, int kOut, typename Rule>
__global__ void __launch_bounds__(kBlockThreads)
    OptimizerKernel(OptimizerOperands<P, G, kIn, kOut> p, int64_t n, Rule rule) {
  using Scalars = typename Rule::template Scalars<P>;
  __shared__ Scalars shared;
  if (threadIdx.x == 0) shared = rule.template Read<P>();
  __syncthreads();
  const Scalars s = shared;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t packs = n / N;
  for (int64_t i = thread; i < packs; i += step) Update<N, P, G, kIn, kOut, Rule>(p, s, i * N);
  for (int64_t i = packs * N + thread; i < n; i += step) {
    Update<1, P, G, kIn, kOut, Rule>(p, s, i);
  }
}

// Inputs 0 .. kIn-1 are parameter and states, the next the gradient.
template <int kIn, int kOut, typename Rule>
absl::Status Run(const KernelContext& c, const Rule& rule) {
  const Operand& grad = c.in(kIn);
  const auto run = [&](auto param_type, auto grad_type) {
    using P = decltype(param_type);
    using G = decltype(grad_type);
    OptimizerOperands<P, G, kIn, kOut> p;
    bool aligned = AlignedToPack(grad.data);
    for (int k = 0; k < kIn; ++k) {
      p.in[k] = c.in(k).as<P>();
      aligned = aligned && AlignedToPack(p.in[k]);
    }
    for (int k = 0; k < kOut; ++k) {
      p.out[k] = c.out(k).as<P>();
      aligned = aligned && AlignedToPack(p.out[k]);
    }
    p.grad = grad.as<G>();
    const int64_t n = grad.elements();
    if (aligned) {
      constexpr int N = kPackOf<P>;
      return Launch(c, &OptimizerKernel<N, P, G, kIn, kOut, Rule>,
                    {GridFor((n + N - 1) / N), kBlockThreads}, p, n, rule);
    }
    return Launch(c, &OptimizerKernel<1, P, G, kIn, kOut, Rule>, {GridFor(n), kBlockThreads}, p, n,
                  rule);
  };
  const DType param = c.in(0).dtype();
  if (param == DType::kF64) return run(double(), double());
  if (grad.dtype() == DType::kBF16) return run(float(), __nv_bfloat16());
  return run(float(), float());
}

struct Momentum {
  const float* lr;
  const float* clip;
  double momentum, decay;
  bool nesterov;
  template <typename P>
  struct Scalars {
    P lr, clip, momentum, decay;
    bool nesterov;
  };
  template <typename P>
  __device__ Scalars<P> Read() const {
    return {static_cast<P>(*lr), static_cast<P>(*clip), static_cast<P>(momentum),
            static_cast<P>(decay), nesterov};
  }
  template <typename P>
  __device__ static void Step(const Scalars<P>& s, const P (&in)[2], P grad, P (&out)[2]) {
    const P step = grad * s.clip + s.decay * in[0];
    const P moved = s.momentum * in[1] + step;
    out[0] = in[0] - s.lr * (s.nesterov ? step + s.momentum * moved : moved);
    out[1] = moved;
  }
};

struct LambUpdate : Moments {
  template <typename P>
  __device__ static void Step(const Scalars<P>& s, const P (&in)[3], P grad, P (&out)[3]) {
    out[2] = Direction(s, in, grad, out[0], out[1]);
  }
};

// The "gradient" is u.
struct LambApply {
  const double* param_sq;
  const double* u_sq;
  const float* lr;
  template <typename P>
  struct Scalars {
    P rate;
  };
  template <typename P>
  __device__ Scalars<P> Read() const {
    const double param_norm = sqrt(*param_sq), u_norm = sqrt(*u_sq);
    // A zero parameter would never move, and a zero u has no direction.
    const double ratio = param_norm > 0 && u_norm > 0 ? param_norm / u_norm : 1;
    return {static_cast<P>(*lr * ratio)};
  }
  template <typename P>
  __device__ static void Step(const Scalars<P>& s, const P (&in)[1], P u, P (&out)[1]) {
    out[0] = in[0] - s.rate * u;
  }
};

absl::Status SgdCuda(const KernelContext& c) {
  return Run<2, 2>(c, Momentum{c.in(3).as<float>(), c.in(4).as<float>(), c.attrs->Float("momentum"),
                               c.attrs->Float("weight_decay"), c.attrs->Bool("nesterov")});
}

absl::Status LambUpdateCuda(const KernelContext& c) {
  return Run<3, 3>(
      c, LambUpdate{{nullptr, c.in(4).as<float>(), c.in(5).as<float>(), c.attrs->Float("beta1"),
                     c.attrs->Float("beta2"), c.attrs->Float("eps"), c.attrs->Float("weight_decay"),
                     c.attrs->Bool("bias_correction")}});
}

absl::Status LambApplyCuda(const KernelContext& c) {
  return Run<1, 1>(c, LambApply{c.in(2).as<double>(), c.in(3).as<double>(), c.in(4).as<float>()});
}

}  // namespace

void AddOptimizersCuda(KernelTable& kernels) {
  kernels.Add("sgd", SgdCuda);
  kernels.Add("lamb_update", LambUpdateCuda);
  kernels.Add("lamb_apply", LambApplyCuda);
}

}  // namespace weft
