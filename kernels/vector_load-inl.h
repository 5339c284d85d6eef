// Highway loads and stores of f32, bf16 and f16 as vectors of f32. Included once per SIMD target,
// after hwy/highway.h, hence the toggled guard instead of #pragma once.
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

// f16 by arithmetic on bits, the same on every target, not all of which have instructions for it.
// Exponent and mantissa at their places in f32 are a value that is too small by 2^112, subnormals
// included; what gets to 2^16 is infinite or NaN.
template <class D>
HWY_INLINE hn::Vec<D> LoadF32(D d, const Float16* p) {
  const hn::Rebind<uint16_t, D> du16;
  const hn::RebindToUnsigned<D> du32;
  const auto bits = hn::PromoteTo(du32, hn::LoadU(du16, reinterpret_cast<const uint16_t*>(p)));
  const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(du32, 0x8000u)));
  const auto rest = hn::ShiftLeft<13>(hn::And(bits, hn::Set(du32, 0x7fffu)));
  const auto value = hn::Mul(hn::BitCast(d, rest), hn::Set(d, 0x1p112f));
  const auto special = hn::RebindMask(du32, hn::Ge(value, hn::Set(d, 65536.0f)));
  const auto top = hn::IfThenElseZero(special, hn::Set(du32, 0x7f800000u));
  return hn::BitCast(d, hn::Or(hn::Or(hn::BitCast(du32, value), top), sign));
}

// Rounds to nearest even, as Float16(float) does. Below 2^-14 the sum with 1/2 has units of 2^-24,
// those of subnormals, in its last bits.
template <class D>
HWY_INLINE void StoreF32(hn::Vec<D> v, D d, Float16* p) {
  const hn::Rebind<uint16_t, D> du16;
  const hn::RebindToSigned<D> di32;
  const auto u = hn::BitCast(di32, v);
  const auto sign = hn::And(hn::ShiftRight<16>(u), hn::Set(di32, 0x8000));
  const auto size = hn::And(u, hn::Set(di32, 0x7fffffff));
  const auto odd = hn::And(hn::ShiftRight<13>(size), hn::Set(di32, 1));
  const auto rounded =
      hn::Add(hn::Add(hn::Sub(size, hn::Set(di32, 0x38000000)), hn::Set(di32, 0xfff)), odd);
  const auto sum = hn::Add(hn::BitCast(d, size), hn::Set(d, 0.5f));
  const auto tiny = hn::Sub(hn::BitCast(di32, sum), hn::Set(di32, 0x3f000000));
  auto half =
      hn::IfThenElse(hn::Lt(size, hn::Set(di32, 0x38800000)), tiny, hn::ShiftRight<13>(rounded));
  half = hn::IfThenElse(hn::Gt(size, hn::Set(di32, 0x477fefff)), hn::Set(di32, 0x7c00), half);
  half = hn::IfThenElse(hn::Gt(size, hn::Set(di32, 0x7f800000)), hn::Set(di32, 0x7e00), half);
  hn::StoreU(hn::DemoteTo(du16, hn::Or(half, sign)), du16, reinterpret_cast<uint16_t*>(p));
}

}  // namespace HWY_NAMESPACE
}  // namespace weft
HWY_AFTER_NAMESPACE();

#endif
