#include "kernels/row_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/row_math.cc"
#include "hwy/foreach_target.h"  // compiles what follows once per instruction set
#include "hwy/highway.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weft {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Full = hn::ScalableTag<float>;
using One = hn::CappedTag<float, 1>;  // for the elements after the last full vector

// Calls body(tag, i) for full vectors, then for single elements.
template <typename Body>
HWY_INLINE void ForEach(int64_t n, Body body) {
  const Full full;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(full));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(full, i);
  for (; i < n; ++i) body(One(), i);
}

template <class D, class V>
HWY_INLINE V ExpOrNaN(D d, V x) {
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(d, x));
}

template <class D>
HWY_INLINE float Total(D d, hn::Vec<D> v) {
  return hn::GetLane(hn::SumOfLanes(d, v));
}

float MaxImpl(const float* x, int64_t n) {
  const Full d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto most = hn::Set(d, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    most = hn::IfThenElse(hn::Or(hn::Gt(v, most), hn::IsNaN(v)), v, most);
  }
  float result = hn::GetLane(hn::MaxOfLanes(d, most));
  if (!hn::AllFalse(d, hn::IsNaN(most))) result = std::numeric_limits<float>::quiet_NaN();
  for (; i < n; ++i) result = x[i] > result || std::isnan(x[i]) ? x[i] : result;
  return result;
}

float ExpImpl(float* x, int64_t n, float shift) {
  const Full full;
  auto sum = hn::Zero(full);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(full));
  const auto s = hn::Set(full, shift);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto e = ExpOrNaN(full, hn::Sub(hn::LoadU(full, x + i), s));
    hn::StoreU(e, full, x + i);
    sum = hn::Add(sum, e);
  }
  float total = Total(full, sum);
  const One one;
  for (; i < n; ++i) {
    const auto e = ExpOrNaN(one, hn::Sub(hn::LoadU(one, x + i), hn::Set(one, shift)));
    hn::StoreU(e, one, x + i);
    total += hn::GetLane(e);
  }
  return total;
}

float DotImpl(const float* x, const float* y, int64_t n) {
  const Full d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto s0 = hn::Zero(d), s1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    s0 = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), s0);
    s1 = hn::MulAdd(hn::LoadU(d, x + i + lanes), hn::LoadU(d, y + i + lanes), s1);
  }
  float total = Total(d, hn::Add(s0, s1));
  for (; i < n; ++i) total += x[i] * y[i];
  return total;
}

float SumImpl(const float* x, int64_t n) {
  const Full d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) sum = hn::Add(sum, hn::LoadU(d, x + i));
  float total = Total(d, sum);
  for (; i < n; ++i) total += x[i];
  return total;
}

void ScaleImpl(float* x, int64_t n, float factor) {
  ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, x + i);
  });
}

void AddImpl(float* y, const float* x, int64_t n, float factor) {
  ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::LoadU(d, x + i), hn::Set(d, factor), hn::LoadU(d, y + i)), d, y + i);
  });
}

void MulAddImpl(float* y, const float* a, const float* b, int64_t n, float factor) {
  ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto product = hn::Mul(hn::LoadU(d, a + i), hn::LoadU(d, b + i));
    hn::StoreU(hn::MulAdd(product, hn::Set(d, factor), hn::LoadU(d, y + i)), d, y + i);
  });
}

void AffineImpl(float* y, const float* x, const float* weight, const float* bias, int64_t n,
                float shift, float factor) {
  if (weight == nullptr) {
    ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto v = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, shift)), hn::Set(d, factor));
      hn::StoreU(bias ? hn::Add(v, hn::LoadU(d, bias + i)) : v, d, y + i);
    });
    return;
  }
  if (bias == nullptr) {
    ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto v = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, shift)), hn::Set(d, factor));
      hn::StoreU(hn::Mul(v, hn::LoadU(d, weight + i)), d, y + i);
    });
    return;
  }
  ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto v = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, shift)), hn::Set(d, factor));
    hn::StoreU(hn::MulAdd(v, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i)), d, y + i);
  });
}

void SoftmaxGradImpl(float* s, float* dp, int64_t n, float lse, float delta, float factor) {
  ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto p = ExpOrNaN(d, hn::Sub(hn::LoadU(d, s + i), hn::Set(d, lse)));
    const auto g = hn::Mul(hn::Sub(hn::LoadU(d, dp + i), hn::Set(d, delta)), hn::Set(d, factor));
    hn::StoreU(p, d, s + i);
    hn::StoreU(hn::Mul(p, g), d, dp + i);
  });
}

void RotateImpl(float* y, const float* x, const float* cos, const float* sin, int64_t half) {
  ForEach(half, [&](auto d, int64_t i) HWY_ATTR {
    const auto a = hn::LoadU(d, x + i), b = hn::LoadU(d, x + half + i);
    const auto c = hn::LoadU(d, cos + i), s = hn::LoadU(d, sin + i);
    hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, y + i);
    hn::StoreU(hn::MulAdd(b, c, hn::Mul(a, s)), d, y + half + i);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace weft
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weft {

HWY_EXPORT(MaxImpl);
HWY_EXPORT(ExpImpl);
HWY_EXPORT(SumImpl);
HWY_EXPORT(DotImpl);
HWY_EXPORT(ScaleImpl);
HWY_EXPORT(AddImpl);
HWY_EXPORT(MulAddImpl);
HWY_EXPORT(AffineImpl);
HWY_EXPORT(SoftmaxGradImpl);
HWY_EXPORT(RotateImpl);

float RowMax(const float* x, int64_t n) { return HWY_DYNAMIC_DISPATCH(MaxImpl)(x, n); }
float RowExp(float* x, int64_t n, float shift) {
  return HWY_DYNAMIC_DISPATCH(ExpImpl)(x, n, shift);
}
float RowSum(const float* x, int64_t n) { return HWY_DYNAMIC_DISPATCH(SumImpl)(x, n); }
float RowDot(const float* x, const float* y, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(DotImpl)(x, y, n);
}
void RowScale(float* x, int64_t n, float factor) {
  HWY_DYNAMIC_DISPATCH(ScaleImpl)(x, n, factor);
}
void RowAdd(float* y, const float* x, int64_t n, float factor) {
  HWY_DYNAMIC_DISPATCH(AddImpl)(y, x, n, factor);
}
void RowMulAdd(float* y, const float* a, const float* b, int64_t n, float factor) {
  HWY_DYNAMIC_DISPATCH(MulAddImpl)(y, a, b, n, factor);
}
void RowAffine(float* y, const float* x, const float* weight, const float* bias, int64_t n,
               float shift, float factor) {
  HWY_DYNAMIC_DISPATCH(AffineImpl)(y, x, weight, bias, n, shift, factor);
}
void RowSoftmaxGrad(float* s, float* dp, int64_t n, float lse, float delta, float factor) {
  HWY_DYNAMIC_DISPATCH(SoftmaxGradImpl)(s, dp, n, lse, delta, factor);
}
void RowRotate(float* y, const float* x, const float* cos, const float* sin, int64_t half) {
  HWY_DYNAMIC_DISPATCH(RotateImpl)(y, x, cos, sin, half);
}

}  // namespace weft
#endif  // HWY_ONCE
