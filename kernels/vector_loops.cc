#include "kernels/vector_loops.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/vector_loops.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "kernels/vector_load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weft {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
void Add(const T* a, const T* b, T* y, int64_t n) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    StoreF32(hn::Add(LoadF32(d, a + i), LoadF32(d, b + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] = T(static_cast<float>(a[i]) + static_cast<float>(b[i]));
}

template <typename From, typename To>
void Cast(const From* x, To* y, int64_t n) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) StoreF32(LoadF32(d, x + i), d, y + i);
  for (; i < n; ++i) y[i] = To(static_cast<float>(x[i]));
}

// Squares of floats are exact in f64, so only the additions round.
template <typename T>
double SumSquares(const T* x, int64_t n) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const hn::ScalableTag<double> dd;
  const hn::Rebind<float, decltype(dd)> half;
  const int64_t half_lanes = lanes / 2;
  float buffer[hn::MaxLanes(hn::ScalableTag<float>())];
  double total = 0;
  for (int64_t tile = 0; tile < n; tile += kSquaresTile) {
    const int64_t end = std::min<int64_t>(tile + kSquaresTile, n);
    auto even = hn::Zero(dd);
    auto odd = hn::Zero(dd);
    int64_t i = tile;
    for (; half_lanes > 0 && i + lanes <= end; i += lanes) {
      hn::StoreU(LoadF32(d, x + i), d, buffer);
      const auto lo = hn::PromoteTo(dd, hn::LoadU(half, buffer));
      const auto hi = hn::PromoteTo(dd, hn::LoadU(half, buffer + half_lanes));
      even = hn::MulAdd(lo, lo, even);
      odd = hn::MulAdd(hi, hi, odd);
    }
    double sum = hn::GetLane(hn::SumOfLanes(dd, hn::Add(even, odd)));
    for (; i < end; ++i) {
      const double value = static_cast<float>(x[i]);
      sum += value * value;
    }
    total += sum;
  }
  return total;
}

void AddF32(const float* a, const float* b, float* y, int64_t n) { Add(a, b, y, n); }
void AddBF16(const BFloat16* a, const BFloat16* b, BFloat16* y, int64_t n) { Add(a, b, y, n); }
void AddF16(const Float16* a, const Float16* b, Float16* y, int64_t n) { Add(a, b, y, n); }
void CastToBF16(const float* x, BFloat16* y, int64_t n) { Cast(x, y, n); }
void CastBF16(const BFloat16* x, float* y, int64_t n) { Cast(x, y, n); }
void CastToF16(const float* x, Float16* y, int64_t n) { Cast(x, y, n); }
void CastF16(const Float16* x, float* y, int64_t n) { Cast(x, y, n); }
double SumSquaresF32(const float* x, int64_t n) { return SumSquares(x, n); }
double SumSquaresBF16(const BFloat16* x, int64_t n) { return SumSquares(x, n); }
double SumSquaresF16(const Float16* x, int64_t n) { return SumSquares(x, n); }

}  // namespace HWY_NAMESPACE
}  // namespace weft
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weft {

HWY_EXPORT(AddF32);
HWY_EXPORT(AddBF16);
HWY_EXPORT(AddF16);
HWY_EXPORT(CastToBF16);
HWY_EXPORT(CastBF16);
HWY_EXPORT(CastToF16);
HWY_EXPORT(CastF16);
HWY_EXPORT(SumSquaresF32);
HWY_EXPORT(SumSquaresBF16);
HWY_EXPORT(SumSquaresF16);

void AddLoop(const float* a, const float* b, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(AddF32)(a, b, y, n);
}
void AddLoop(const BFloat16* a, const BFloat16* b, BFloat16* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(AddBF16)(a, b, y, n);
}
void AddLoop(const Float16* a, const Float16* b, Float16* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(AddF16)(a, b, y, n);
}
void AddLoop(const double* a, const double* b, double* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}
void CastLoop(const float* x, BFloat16* y, int64_t n) { HWY_DYNAMIC_DISPATCH(CastToBF16)(x, y, n); }
void CastLoop(const BFloat16* x, float* y, int64_t n) { HWY_DYNAMIC_DISPATCH(CastBF16)(x, y, n); }
void CastLoop(const float* x, Float16* y, int64_t n) { HWY_DYNAMIC_DISPATCH(CastToF16)(x, y, n); }
void CastLoop(const Float16* x, float* y, int64_t n) { HWY_DYNAMIC_DISPATCH(CastF16)(x, y, n); }
double SumSquaresLoop(const float* x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(SumSquaresF32)(x, n);
}
double SumSquaresLoop(const BFloat16* x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(SumSquaresBF16)(x, n);
}
double SumSquaresLoop(const Float16* x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(SumSquaresF16)(x, n);
}
double SumSquaresLoop(const double* x, int64_t n) {
  double total = 0;
  for (int64_t tile = 0; tile < n; tile += kSquaresTile) {
    double sum = 0;
    for (int64_t i = tile; i < std::min<int64_t>(tile + kSquaresTile, n); ++i) sum += x[i] * x[i];
    total += sum;
  }
  return total;
}

}  // namespace weft
#endif  // HWY_ONCE
