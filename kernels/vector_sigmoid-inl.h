// The sigmoid in Highway, of which SiLU and GELU are made. Included once per SIMD target, after
// hwy/highway.h, hence the toggled guard instead of #pragma once.
#if defined(WEFT_KERNELS_VECTOR_SIGMOID_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WEFT_KERNELS_VECTOR_SIGMOID_INL_H_
#undef WEFT_KERNELS_VECTOR_SIGMOID_INL_H_
#else
#define WEFT_KERNELS_VECTOR_SIGMOID_INL_H_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace weft {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 1 / (1 + exp(-x)), to about 1e-7.
template <class D>
HWY_INLINE hn::Vec<D> SigmoidOf(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  // Below -87 exp(-x) overflows; the sigmoid is 0 to f32 there anyway.
  const auto e = hn::Exp(d, hn::Neg(hn::Max(x, hn::Set(d, -87.0f))));
  return hn::Div(one, hn::Add(one, e));
}

}  // namespace HWY_NAMESPACE
}  // namespace weft
HWY_AFTER_NAMESPACE();

#endif
