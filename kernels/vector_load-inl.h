// Highway loads and stores of f32 and bf16 as vectors of f32. Included once per SIMD target, after
// hwy/highway.h, hence the toggled guard instead of #pragma once.
#if defined(WEFT_KERNELS_VECTOR_LOAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WEFT_KERNELS_VECTOR_LOAD_INL_H_
#undef WEFT_KERNELS_VECTOR_LOAD_INL_H_
#else
#define WEFT_KERNELS_VECTOR_LOAD_INL_H_
#endif

#include "hwy/highway.h"
#include "runtime/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace weft {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> LoadF32(D d, const float* p) {
  return hn::LoadU(d, p);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadF32(D d, const BFloat16* p) {
  const hn::Rebind<uint16_t, D> du16;
  const hn::RebindToUnsigned<D> du32;
  const auto bits = hn::LoadU(du16, reinterpret_cast<const uint16_t*>(p));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, bits)));
}

template <class D>
HWY_INLINE void StoreF32(hn::Vec<D> v, D d, float* p) {
  hn::StoreU(v, d, p);
}

// Rounds to nearest even, as BFloat16(float) does; NaN stays NaN.
template <class D>
HWY_INLINE void StoreF32(hn::Vec<D> v, D /*d*/, BFloat16* p) {
  const hn::Rebind<uint16_t, D> du16;
  const hn::RebindToUnsigned<D> du32;
  const hn::RebindToSigned<D> di32;
  const auto u = hn::BitCast(du32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(du32, 1u));
  const auto rounded = hn::Add(hn::Add(u, hn::Set(du32, 0x7fffu)), odd);
  const auto quiet = hn::Or(u, hn::Set(du32, 0x400000u));
  const auto nan = hn::RebindMask(du32, hn::Ne(v, v));
  const auto top = hn::ShiftRight<16>(hn::IfThenElse(nan, quiet, rounded));
  hn::StoreU(hn::DemoteTo(du16, hn::BitCast(di32, top)), du16, reinterpret_cast<uint16_t*>(p));
}

}  // namespace HWY_NAMESPACE
}  // namespace weft
HWY_AFTER_NAMESPACE();

#endif
