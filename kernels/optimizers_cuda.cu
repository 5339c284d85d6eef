// sgd and LAMB's two ops on CUDA: one pass over parameter, states and gradient of all tensors, by
// tiles. The step's scalars lie in device memory; each block makes what follows from them once.
#include <cmath>

#include "kernels/cuda_batch.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
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

// One call.
template <typename P, typename G, int kIn, int kOut, typename Rule>
struct OptimizerTensor {
  OptimizerOperands<P, G, kIn, kOut> operands;
  int64_t n;
  Rule rule;
  bool aligned;  // all operands, to packs
};

// Elements of a block.
constexpr int kOptimizerTile = 4096;

template <int N, typename P, typename G, int kIn, int kOut, typename Rule>
__device__ inline void UpdateTile(const OptimizerOperands<P, G, kIn, kOut>& p,
                                  const typename Rule::template Scalars<P>& s, int64_t begin,
                                  int count) {
  for (int i = threadIdx.x * N; i + N <= count; i += kBlockThreads * N) {
    Update<N, P, G, kIn, kOut, Rule>(p, s, begin + i);
  }
  for (int i = count / N * N + threadIdx.x; i < count; i += kBlockThreads) {
    Update<1, P, G, kIn, kOut, Rule>(p, s, begin + i);
  }
}

template <typename P, typename G, int kIn, int kOut, typename Rule>
using OptimizerBatches = CudaBatches<OptimizerTensor<P, G, kIn, kOut, Rule>, kParameterBytes>;

template <typename P, typename G, int kIn, int kOut, typename Rule>
__global__ void __launch_bounds__(kBlockThreads)
    OptimizerKernel(const __grid_constant__
                    typename OptimizerBatches<P, G, kIn, kOut, Rule>::Batch batch) {
  using Scalars = typename Rule::template Scalars<P>;
  const int item = batch.Find(blockIdx.x);
  const auto& t = batch.items[item];
  __shared__ Scalars shared;
  if (threadIdx.x == 0) shared = t.rule.template Read<P>();
  __syncthreads();
  const Scalars s = shared;
  const int64_t begin = static_cast<int64_t>(blockIdx.x - batch.begins[item]) * kOptimizerTile;
  const int count = static_cast<int>(min(t.n - begin, static_cast<int64_t>(kOptimizerTile)));
  if (t.aligned) {
    UpdateTile<kPackOf<P>, P, G, kIn, kOut, Rule>(t.operands, s, begin, count);
  } else {
    UpdateTile<1, P, G, kIn, kOut, Rule>(t.operands, s, begin, count);
  }
}

using Calls = absl::Span<const KernelContext* const>;

// Those of the calls that have these types. Inputs 0 .. kIn-1 are parameter and states, the next
// the gradient; rule_of(call) answers the Rule.
template <typename P, typename G, int kIn, int kOut, typename RuleOf>
absl::Status RunTypes(Calls calls, const RuleOf& rule_of) {
  using Rule = decltype(rule_of(*calls[0]));
  OptimizerBatches<P, G, kIn, kOut, Rule> batches(
      *calls[0], &OptimizerKernel<P, G, kIn, kOut, Rule>, kBlockThreads);
  for (const KernelContext* c : calls) {
    const Operand& grad = c->in(kIn);
    if (c->in(0).dtype() != kDTypeOf<P> || grad.dtype() != kDTypeOf<G>) continue;
    OptimizerTensor<P, G, kIn, kOut, Rule> t{
        .operands = {}, .n = grad.elements(), .rule = rule_of(*c), .aligned = false};
    t.aligned = AlignedToPack(grad.data);
    for (int k = 0; k < kIn; ++k) {
      t.operands.in[k] = c->in(k).template as<P>();
      t.aligned = t.aligned && AlignedToPack(t.operands.in[k]);
    }
    for (int k = 0; k < kOut; ++k) {
      t.operands.out[k] = c->out(k).template as<P>();
      t.aligned = t.aligned && AlignedToPack(t.operands.out[k]);
    }
    t.operands.grad = grad.as<G>();
    WEFT_RETURN_IF_ERROR(batches.Add(t, (t.n + kOptimizerTile - 1) / kOptimizerTile));
  }
  return batches.Finish();
}

template <int kIn, int kOut, typename RuleOf>
absl::Status Run(Calls calls, const RuleOf& rule_of) {
  WEFT_RETURN_IF_ERROR((RunTypes<double, double, kIn, kOut>(calls, rule_of)));
  WEFT_RETURN_IF_ERROR((RunTypes<float, __nv_bfloat16, kIn, kOut>(calls, rule_of)));
  WEFT_RETURN_IF_ERROR((RunTypes<float, __half, kIn, kOut>(calls, rule_of)));
  return RunTypes<float, float, kIn, kOut>(calls, rule_of);
}

struct Momentum {
  const float* lr;
  const float* clip;
  const float* skip;
  double momentum, decay;
  bool nesterov;
  template <typename P>
  struct Scalars {
    P lr, clip, momentum, decay;
    bool nesterov, skip;
  };
  template <typename P>
  __device__ Scalars<P> Read() const {
    return {static_cast<P>(*lr),
            static_cast<P>(*clip),
            static_cast<P>(momentum),
            static_cast<P>(decay),
            nesterov,
            Skips(skip)};
  }
  template <typename P>
  __device__ static void Step(const Scalars<P>& s, const P (&in)[2], P grad, P (&out)[2]) {
    const P step = grad * s.clip + s.decay * in[0];
    const P moved = s.momentum * in[1] + step;
    out[0] = s.skip ? in[0] : in[0] - s.lr * (s.nesterov ? step + s.momentum * moved : moved);
    out[1] = s.skip ? in[1] : moved;
  }
};

struct LambUpdate : Moments {
  template <typename P>
  __device__ static void Step(const Scalars<P>& s, const P (&in)[3], P grad, P (&out)[3]) {
    if (s.skip) {
      out[0] = in[1];
      out[1] = in[2];
      out[2] = 0;
      return;
    }
    out[2] = Direction(s, in, grad, out[0], out[1]);
  }
};

// The "gradient" is u.
struct LambApply {
  const double* param_sq;
  const double* u_sq;
  const float* lr;
  const float* skip;
  template <typename P>
  struct Scalars {
    P rate;
    bool skip;
  };
  template <typename P>
  __device__ Scalars<P> Read() const {
    const double param_norm = sqrt(*param_sq), u_norm = sqrt(*u_sq);
    // A zero parameter would never move, and a zero u has no direction.
    const double ratio = param_norm > 0 && u_norm > 0 ? param_norm / u_norm : 1;
    return {static_cast<P>(*lr * ratio), Skips(skip)};
  }
  template <typename P>
  __device__ static void Step(const Scalars<P>& s, const P (&in)[1], P u, P (&out)[1]) {
    out[0] = s.skip ? in[0] : in[0] - s.rate * u;
  }
};

absl::Status SgdCuda(Calls calls) {
  return Run<2, 2>(calls, [](const KernelContext& c) {
    return Momentum{c.in(3).as<float>(),
                    c.in(4).as<float>(),
                    SkipOf(c, 5),
                    c.attrs->Float("momentum"),
                    c.attrs->Float("weight_decay"),
                    c.attrs->Bool("nesterov")};
  });
}

absl::Status LambUpdateCuda(Calls calls) {
  return Run<3, 3>(calls, [](const KernelContext& c) {
    return LambUpdate{{nullptr, c.in(4).as<float>(), c.in(5).as<float>(), SkipOf(c, 6),
                       c.attrs->Float("beta1"), c.attrs->Float("beta2"), c.attrs->Float("eps"),
                       c.attrs->Float("weight_decay"), c.attrs->Bool("bias_correction")}};
  });
}

absl::Status LambApplyCuda(Calls calls) {
  return Run<1, 1>(calls, [](const KernelContext& c) {
    return LambApply{c.in(2).as<double>(), c.in(3).as<double>(), c.in(4).as<float>(), SkipOf(c, 5)};
  });
}

}  // namespace

void AddOptimizersCuda(KernelTable& kernels) {
  kernels.Add("sgd", OneOf<SgdCuda>, SgdCuda);
  kernels.Add("lamb_update", OneOf<LambUpdateCuda>, LambUpdateCuda);
  kernels.Add("lamb_apply", OneOf<LambApplyCuda>, LambApplyCuda);
}

}  // namespace weft
