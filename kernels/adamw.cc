// adamw: Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay
// Regularization", ICLR 2019): p' = p - lr * (mhat / (sqrt(vhat) + eps) + wd * p).
#include <algorithm>
#include <cmath>

#include "graph/grad_context.h"
#include "kernels/device_workspace.h"
#include "kernels/op_list.h"
#include "kernels/optimizer_infer.h"
#include "kernels/vector_loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/adamw.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "kernels/vector_load-inl.h"

#ifndef WEFT_KERNELS_ADAMW_ONCE_
#define WEFT_KERNELS_ADAMW_ONCE_
namespace weft {

// The step's scalars; keep1 = 1 - beta1, correction1 = 1 / (1 - beta1^t), as for beta2, each
// rounded once.
template <typename P>
struct AdamWScalars {
  P lr, clip, beta1, beta2, keep1, keep2, eps, decay, correction1, correction2;
};

// Results that nobody reads are nullptr.
template <typename P, typename G>
struct AdamWBuffers {
  const P* param;
  const P* m;
  const P* v;
  const G* grad;
  P* new_param;
  P* new_m;
  P* new_v;

  AdamWBuffers From(int64_t i) const {
    const auto at = [i](auto* data) { return data == nullptr ? data : data + i; };
    return {at(param), at(m), at(v), at(grad), at(new_param), at(new_m), at(new_v)};
  }
};

}  // namespace weft
#endif

HWY_BEFORE_NAMESPACE();
namespace weft {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One vector. Named here rather than in the loop so that the padded tail computes the same bits.
template <class D, typename G>
HWY_INLINE void AdamWBlock(D d, const AdamWScalars<float>& s, const AdamWBuffers<float, G>& b,
                           int64_t i) {
  const auto grad = hn::Mul(LoadF32(d, b.grad + i), hn::Set(d, s.clip));
  const auto param = hn::LoadU(d, b.param + i);
  const auto m =
      hn::MulAdd(hn::Set(d, s.beta1), hn::LoadU(d, b.m + i), hn::Mul(hn::Set(d, s.keep1), grad));
  const auto v = hn::MulAdd(hn::Set(d, s.beta2), hn::LoadU(d, b.v + i),
                            hn::Mul(hn::Set(d, s.keep2), hn::Mul(grad, grad)));
  const auto root = hn::Sqrt(hn::Mul(v, hn::Set(d, s.correction2)));
  const auto ratio =
      hn::Div(hn::Mul(m, hn::Set(d, s.correction1)), hn::Add(root, hn::Set(d, s.eps)));
  const auto update = hn::MulAdd(hn::Set(d, s.decay), param, ratio);
  if (b.new_param) hn::StoreU(hn::NegMulAdd(hn::Set(d, s.lr), update, param), d, b.new_param + i);
  if (b.new_m) hn::StoreU(m, d, b.new_m + i);
  if (b.new_v) hn::StoreU(v, d, b.new_v + i);
}

template <typename G>
void AdamW(const AdamWScalars<float>& s, const AdamWBuffers<float, G>& b, int64_t n) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) AdamWBlock(d, s, b, i);
  if (i == n) return;
  constexpr size_t kMax = hn::MaxLanes(hn::ScalableTag<float>());
  float param[kMax] = {}, m[kMax] = {}, v[kMax] = {};
  G grad[kMax] = {};
  for (int64_t j = 0; j < n - i; ++j) {
    param[j] = b.param[i + j], m[j] = b.m[i + j], v[j] = b.v[i + j], grad[j] = b.grad[i + j];
  }
  AdamWBlock(d, s, AdamWBuffers<float, G>{param, m, v, grad, param, m, v}, 0);
  for (int64_t j = 0; j < n - i; ++j) {
    if (b.new_param) b.new_param[i + j] = param[j];
    if (b.new_m) b.new_m[i + j] = m[j];
    if (b.new_v) b.new_v[i + j] = v[j];
  }
}

void AdamWF32(const AdamWScalars<float>& s, const AdamWBuffers<float, float>& b, int64_t n) {
  AdamW(s, b, n);
}
void AdamWBF16(const AdamWScalars<float>& s, const AdamWBuffers<float, BFloat16>& b, int64_t n) {
  AdamW(s, b, n);
}
void AdamWF16(const AdamWScalars<float>& s, const AdamWBuffers<float, Float16>& b, int64_t n) {
  AdamW(s, b, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace weft
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weft {
namespace {

HWY_EXPORT(AdamWF32);
HWY_EXPORT(AdamWBF16);
HWY_EXPORT(AdamWF16);

void Update(const AdamWScalars<float>& s, const AdamWBuffers<float, float>& b, int64_t n) {
  HWY_DYNAMIC_DISPATCH(AdamWF32)(s, b, n);
}
void Update(const AdamWScalars<float>& s, const AdamWBuffers<float, BFloat16>& b, int64_t n) {
  HWY_DYNAMIC_DISPATCH(AdamWBF16)(s, b, n);
}
void Update(const AdamWScalars<float>& s, const AdamWBuffers<float, Float16>& b, int64_t n) {
  HWY_DYNAMIC_DISPATCH(AdamWF16)(s, b, n);
}
void Update(const AdamWScalars<double>& s, const AdamWBuffers<double, double>& b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const double grad = b.grad[i] * s.clip, param = b.param[i];
    const double m = s.beta1 * b.m[i] + s.keep1 * grad;
    const double v = s.beta2 * b.v[i] + s.keep2 * grad * grad;
    const double ratio = m * s.correction1 / (std::sqrt(v * s.correction2) + s.eps);
    if (b.new_param) b.new_param[i] = param - s.lr * (ratio + s.decay * param);
    if (b.new_m) b.new_m[i] = m;
    if (b.new_v) b.new_v[i] = v;
  }
}

// As sum_squares sums, each tile while it is in the cache.
template <typename P, typename G>
void UpdateAndSum(const AdamWScalars<P>& s, const AdamWBuffers<P, G>& b, int64_t n,
                  double* grad_sq) {
  double total = 0;
  for (int64_t i = 0; i < n; i += kSquaresTile) {
    const int64_t count = std::min(kSquaresTile, n - i);
    total += SumSquaresLoop(b.grad + i, count);
    Update(s, b.From(i), count);
  }
  *grad_sq = total;
}

absl::Status AdamWCpu(const KernelContext& c) {
  if (Skips(c, 7)) {
    for (int i = 0; i < 3; ++i) Keep(c, i, i);
    if (c.out(3).data == nullptr) return absl::OkStatus();
    return DispatchFloat(c.in(3).dtype(), [&](auto g) {
      *c.out(3).as<double>() = SumSquaresLoop(c.in(3).as<decltype(g)>(), c.in(3).elements());
    });
  }
  return DispatchOptimizer(c.in(0).dtype(), c.in(3).dtype(), [&](auto p, auto g) {
    using P = decltype(p);
    using G = decltype(g);
    const double step = *c.in(5).as<float>();
    const double beta1 = c.attrs->Float("beta1"), beta2 = c.attrs->Float("beta2");
    const AdamWScalars<P> scalars{.lr = static_cast<P>(*c.in(4).as<float>()),
                                  .clip = static_cast<P>(*c.in(6).as<float>()),
                                  .beta1 = static_cast<P>(beta1),
                                  .beta2 = static_cast<P>(beta2),
                                  .keep1 = static_cast<P>(1 - beta1),
                                  .keep2 = static_cast<P>(1 - beta2),
                                  .eps = static_cast<P>(c.attrs->Float("eps")),
                                  .decay = static_cast<P>(c.attrs->Float("weight_decay")),
                                  .correction1 = static_cast<P>(1 / (1 - std::pow(beta1, step))),
                                  .correction2 = static_cast<P>(1 / (1 - std::pow(beta2, step)))};
    const AdamWBuffers<P, G> buffers{c.in(0).as<P>(), c.in(1).as<P>(),  c.in(2).as<P>(),
                                     c.in(3).as<G>(), c.out(0).as<P>(), c.out(1).as<P>(),
                                     c.out(2).as<P>()};
    const int64_t n = c.in(0).elements();
    if (c.out(3).data == nullptr) return Update(scalars, buffers, n);
    UpdateAndSum(scalars, buffers, n, c.out(3).as<double>());
  });
}

}  // namespace

void DefineAdamW(OpRegistry& ops) {
  ops.Add({.name = "adamw",
           .inputs = {"param", "m", "v", "grad", "lr", "step", "clip", "skip?"},
           // grad_sq: the sum of the squares of grad as it comes, in f64; bit for bit what
           // sum_squares gives, without another pass over grad.
           .outputs = {"new_param", "new_m", "new_v", "grad_sq"},
           .attrs = {{"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-8}, {"weight_decay", 0.0}},
           .infer = [](const InferContext& c) -> InferredSpecs {
             WEFT_RETURN_IF_ERROR(CheckOptimizerInputs(c, 2, 3));
             return std::vector<TensorSpec>{c.in(0), c.in(0), c.in(0), {{}, DType::kF64}};
           },
           .layout =
               [](const LayoutContext& c) {
                 FactorMap map = c.Elementwise();
                 for (Factor& factor : map.factors) factor.reduce = {Monoid::kSum};  // of grad_sq
                 return map;
               },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 16); },
           .cuda_workspace = AdamWCudaWorkspace,
           .cpu = AdamWCpu,
           .in_place = {{0, 0}, {1, 1}, {2, 2}},
           .takes_narrow = {3}});
}

}  // namespace weft
#endif  // HWY_ONCE
