// silu_gate(gate, up) = silu(gate) * up, the gated activation of decoder MLPs, and its gradient op.
#include <cmath>

#include "graph/grad_context.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/silu_gate.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "kernels/vector_load-inl.h"
#include "kernels/vector_sigmoid-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weft {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The tail of a row goes through a padded copy, so that every element gets the same arithmetic
// wherever the row is cut.
template <typename T>
void SiluGate(const T* gate, const T* up, T* y, int64_t n) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto block = [&](const T* g, const T* u, T* out) HWY_ATTR {
    const auto x = LoadF32(d, g);
    StoreF32(hn::Mul(hn::Mul(x, SigmoidOf(d, x)), LoadF32(d, u)), d, out);
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) block(gate + i, up + i, y + i);
  if (i == n) return;
  T pad[3][hn::MaxLanes(hn::ScalableTag<float>())] = {};
  for (int64_t j = i; j < n; ++j) pad[0][j - i] = gate[j], pad[1][j - i] = up[j];
  block(pad[0], pad[1], pad[2]);
  for (int64_t j = i; j < n; ++j) y[j] = pad[2][j - i];
}

// A result that nobody reads is nullptr.
template <typename T>
void SiluGateGrad(const T* gate, const T* up, const T* dy, T* dgate, T* dup, int64_t n) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto block = [&](const T* g, const T* u, const T* t, T* dg, T* du) HWY_ATTR {
    const auto one = hn::Set(d, 1.0f);
    const auto x = LoadF32(d, g);
    const auto up_v = LoadF32(d, u);
    const auto dy_v = LoadF32(d, t);
    const auto s = SigmoidOf(d, x);
    const auto silu = hn::Mul(x, s);
    // d silu/dx = s (1 + x (1 - s)) = s + silu (1 - s).
    const auto slope = hn::MulAdd(silu, hn::Sub(one, s), s);
    if (dg) StoreF32(hn::Mul(hn::Mul(dy_v, up_v), slope), d, dg);
    if (du) StoreF32(hn::Mul(dy_v, silu), d, du);
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    block(gate + i, up + i, dy + i, dgate ? dgate + i : nullptr, dup ? dup + i : nullptr);
  }
  if (i == n) return;
  T pad[5][hn::MaxLanes(hn::ScalableTag<float>())] = {};
  for (int64_t j = i; j < n; ++j) {
    pad[0][j - i] = gate[j], pad[1][j - i] = up[j], pad[2][j - i] = dy[j];
  }
  block(pad[0], pad[1], pad[2], pad[3], pad[4]);
  for (int64_t j = i; j < n; ++j) {
    if (dgate) dgate[j] = pad[3][j - i];
    if (dup) dup[j] = pad[4][j - i];
  }
}

void SiluGateF32(const float* gate, const float* up, float* y, int64_t n) {
  SiluGate(gate, up, y, n);
}
void SiluGateBF16(const BFloat16* gate, const BFloat16* up, BFloat16* y, int64_t n) {
  SiluGate(gate, up, y, n);
}
void SiluGateF16(const Float16* gate, const Float16* up, Float16* y, int64_t n) {
  SiluGate(gate, up, y, n);
}
void SiluGateGradF32(const float* gate, const float* up, const float* dy, float* dgate, float* dup,
                     int64_t n) {
  SiluGateGrad(gate, up, dy, dgate, dup, n);
}
void SiluGateGradBF16(const BFloat16* gate, const BFloat16* up, const BFloat16* dy, BFloat16* dgate,
                      BFloat16* dup, int64_t n) {
  SiluGateGrad(gate, up, dy, dgate, dup, n);
}
void SiluGateGradF16(const Float16* gate, const Float16* up, const Float16* dy, Float16* dgate,
                     Float16* dup, int64_t n) {
  SiluGateGrad(gate, up, dy, dgate, dup, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace weft
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weft {
namespace {

HWY_EXPORT(SiluGateF32);
HWY_EXPORT(SiluGateBF16);
HWY_EXPORT(SiluGateF16);
HWY_EXPORT(SiluGateGradF32);
HWY_EXPORT(SiluGateGradBF16);
HWY_EXPORT(SiluGateGradF16);

void Forward(const float* gate, const float* up, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(SiluGateF32)(gate, up, y, n);
}
void Forward(const BFloat16* gate, const BFloat16* up, BFloat16* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(SiluGateBF16)(gate, up, y, n);
}
void Forward(const Float16* gate, const Float16* up, Float16* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(SiluGateF16)(gate, up, y, n);
}
void Forward(const double* gate, const double* up, double* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}

void Backward(const float* gate, const float* up, const float* dy, float* dgate, float* dup,
              int64_t n) {
  HWY_DYNAMIC_DISPATCH(SiluGateGradF32)(gate, up, dy, dgate, dup, n);
}
void Backward(const BFloat16* gate, const BFloat16* up, const BFloat16* dy, BFloat16* dgate,
              BFloat16* dup, int64_t n) {
  HWY_DYNAMIC_DISPATCH(SiluGateGradBF16)(gate, up, dy, dgate, dup, n);
}
void Backward(const Float16* gate, const Float16* up, const Float16* dy, Float16* dgate,
              Float16* dup, int64_t n) {
  HWY_DYNAMIC_DISPATCH(SiluGateGradF16)(gate, up, dy, dgate, dup, n);
}
void Backward(const double* gate, const double* up, const double* dy, double* dgate, double* dup,
              int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const double x = gate[i], u = up[i], d = dy[i];
    const double s = 1 / (1 + std::exp(-x));
    if (dgate) dgate[i] = d * u * s * (1 + x * (1 - s));
    if (dup) dup[i] = d * x * s;
  }
}

absl::Status SiluGateCpu(const KernelContext& c) {
  return DispatchFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    Forward(c.in(0).as<T>(), c.in(1).as<T>(), c.out(0).as<T>(), c.out(0).elements());
  });
}

absl::Status SiluGateGradCpu(const KernelContext& c) {
  return DispatchFloat(c.in(0).dtype(), [&](auto t) {
    using T = decltype(t);
    Backward(c.in(0).as<T>(), c.in(1).as<T>(), c.in(2).as<T>(), c.out(0).as<T>(), c.out(1).as<T>(),
             c.in(0).elements());
  });
}

}  // namespace

void DefineSiluGate(OpRegistry& ops) {
  ops.Add({.name = "silu_gate",
           .inputs = {"gate", "up"},
           .outputs = {"y"},
           .infer = SameFloatSpecs,
           .layout = [](const LayoutContext& c) { return ElementwiseLinear(c, 1); },
           .gradient =
               [](GradContext& g) {
                 return g.Emit("silu_gate_grad", {g.input(0), g.input(1), g.output_grad(0)});
               },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 12); },
           .cpu = SiluGateCpu,
           .in_place = {{0, 0}, {1, 0}}});
  ops.Add({.name = "silu_gate_grad",
           .inputs = {"gate", "up", "dy"},
           .outputs = {"dgate", "dup"},
           .infer = [](const InferContext& c) -> InferredSpecs {
             auto specs = SameFloatSpecs(c);
             if (specs.ok()) specs->push_back(c.in(0));
             return specs;
           },
           .layout = [](const LayoutContext& c) { return ElementwiseLinear(c, 2); },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 18); },
           .cpu = SiluGateGradCpu,
           .in_place = {{0, 0}, {1, 1}, {2, 0}}});
}

}  // namespace weft
#endif  // HWY_ONCE
