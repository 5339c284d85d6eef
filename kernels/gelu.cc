// gelu in its tanh form (Hendrycks and Gimpel, arXiv 1606.08415), and its gradient op:
// x/2 (1 + tanh(u)) = x sigmoid(2u) with u = sqrt(2/pi) (x + 0.044715 x^3).
#include <cmath>

#include "graph/grad_context.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gelu.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "kernels/vector_load-inl.h"
#include "kernels/vector_sigmoid-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weft {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 2u and its derivative by x.
template <class D>
HWY_INLINE hn::Vec<D> TwiceU(D d, hn::Vec<D> x) {
  const auto cubic = hn::MulAdd(hn::Mul(x, x), hn::Set(d, 0.044715f), hn::Set(d, 1.0f));
  return hn::Mul(hn::Mul(hn::Set(d, 1.5957691216f), x), cubic);
}
template <class D>
HWY_INLINE hn::Vec<D> TwiceUSlope(D d, hn::Vec<D> x) {
  const auto square = hn::MulAdd(hn::Mul(x, x), hn::Set(d, 0.134145f), hn::Set(d, 1.0f));
  return hn::Mul(hn::Set(d, 1.5957691216f), square);
}

// dx = dy * gelu'(x), or y = gelu(x) where dy is nullptr. The tail goes through a padded copy, so
// that every element gets the same arithmetic wherever the tensor is cut.
template <typename T>
void Gelu(const T* x, const T* dy, T* y, int64_t n) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto block = [&](const T* from, const T* by, T* to) HWY_ATTR {
    const auto v = LoadF32(d, from);
    const auto s = SigmoidOf(d, TwiceU(d, v));
    const auto value = hn::Mul(v, s);
    if (by == nullptr) {
      StoreF32(value, d, to);
      return;
    }
    // s + x s (1 - s) (2u)'.
    const auto bend = hn::Mul(hn::Sub(hn::Set(d, 1.0f), s), TwiceUSlope(d, v));
    StoreF32(hn::Mul(LoadF32(d, by), hn::MulAdd(value, bend, s)), d, to);
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) block(x + i, dy == nullptr ? nullptr : dy + i, y + i);
  if (i == n) return;
  T pad[3][hn::MaxLanes(hn::ScalableTag<float>())] = {};
  for (int64_t j = i; j < n; ++j) {
    pad[0][j - i] = x[j];
    if (dy != nullptr) pad[1][j - i] = dy[j];
  }
  block(pad[0], dy == nullptr ? nullptr : pad[1], pad[2]);
  for (int64_t j = i; j < n; ++j) y[j] = pad[2][j - i];
}

void GeluF32(const float* x, const float* dy, float* y, int64_t n) { Gelu(x, dy, y, n); }
void GeluBF16(const BFloat16* x, const BFloat16* dy, BFloat16* y, int64_t n) { Gelu(x, dy, y, n); }
void GeluF16(const Float16* x, const Float16* dy, Float16* y, int64_t n) { Gelu(x, dy, y, n); }

}  // namespace HWY_NAMESPACE
}  // namespace weft
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weft {
namespace {

HWY_EXPORT(GeluF32);
HWY_EXPORT(GeluBF16);
HWY_EXPORT(GeluF16);

void Run(const float* x, const float* dy, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(GeluF32)(x, dy, y, n);
}
void Run(const BFloat16* x, const BFloat16* dy, BFloat16* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(GeluBF16)(x, dy, y, n);
}
void Run(const Float16* x, const Float16* dy, Float16* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(GeluF16)(x, dy, y, n);
}
void Run(const double* x, const double* dy, double* y, int64_t n) {
  const double k = 1.5957691216057308;  // 2 sqrt(2/pi)
  for (int64_t i = 0; i < n; ++i) {
    const double v = x[i];
    const double s = 1 / (1 + std::exp(-k * v * (1 + 0.044715 * v * v)));
    const double slope = s + v * s * (1 - s) * k * (1 + 0.134145 * v * v);
    y[i] = dy == nullptr ? v * s : dy[i] * slope;
  }
}

absl::Status GeluCpu(const KernelContext& c) {
  return DispatchFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    const T* none = nullptr;
    Run(c.in(0).as<T>(), none, c.out(0).as<T>(), c.out(0).elements());
  });
}

absl::Status GeluGradCpu(const KernelContext& c) {
  return DispatchFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    Run(c.in(0).as<T>(), c.in(1).as<T>(), c.out(0).as<T>(), c.out(0).elements());
  });
}

}  // namespace

void DefineGelu(OpRegistry& ops) {
  ops.Add({.name = "gelu",
           .inputs = {"x"},
           .outputs = {"y"},
           .infer = SameFloatSpecs,
           .layout = [](const LayoutContext& c) { return c.Elementwise(); },
           .gradient =
               [](GradContext& g) {
                 return g.Emit("gelu_grad", {g.input(0), g.output_grad(0)});
               },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 14); },
           .cpu = GeluCpu,
           .in_place = {{0, 0}}});
  ops.Add({.name = "gelu_grad",
           .inputs = {"x", "dy"},
           .outputs = {"dx"},
           .infer = SameFloatSpecs,
           .layout = [](const LayoutContext& c) { return ElementwiseLinear(c, 1); },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 20); },
           .cpu = GeluGradCpu,
           .in_place = {{0, 0}, {1, 0}}});
}

}  // namespace weft
#endif  // HWY_ONCE
