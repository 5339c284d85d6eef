// What the optimizer ops have in common: a parameter with states of its spec, a gradient that may
// be in a smaller dtype, f32 scalars made once per step, and where losses are scaled "skip", one
// more scalar: unless it is 0, parameter and states stay as they are, bit for bit.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "runtime/kernel.h"
#include "runtime/status.h"

namespace weft {

// Inputs 0 .. states are the parameter and its states, the next the gradient, then `scalars` f32
// scalars, and "skip" if there is more. Parameters are f32 (f64 in checks); masters are never in 16
// bits.
inline absl::Status CheckOptimizerInputs(const InferContext& c, int states, int scalars) {
  const TensorSpec& param = c.in(0);
  if (param.dtype != DType::kF32 && param.dtype != DType::kF64) {
    return absl::InvalidArgumentError(
        absl::StrCat("parameter is ", param.ToString(), "; optimizers keep parameters in f32"));
  }
  for (int i = 1; i <= states; ++i) WEFT_RETURN_IF_ERROR(RequireSpec(c, i, param));
  const int grad = states + 1;
  const bool narrow = param.dtype == DType::kF32 && IsHalf(c.in(grad).dtype);
  WEFT_RETURN_IF_ERROR(
      RequireSpec(c, grad, {param.shape, narrow ? c.in(grad).dtype : param.dtype}));
  for (int i = grad + 1; i < std::max(c.num_inputs(), grad + 1 + scalars); ++i) {
    WEFT_RETURN_IF_ERROR(RequireSpec(c, i, {{}, DType::kF32}));
  }
  return absl::OkStatus();
}

// Whether operand `i`, the optional "skip", is there and says so.
inline bool Skips(const KernelContext& c, int i) {
  if (static_cast<int>(c.inputs.size()) <= i || c.in(i).data == nullptr) return false;
  return *c.in(i).as<float>() != 0;
}

// Result `out` is operand `in`.
inline void Keep(const KernelContext& c, int in, int out) {
  const Operand &from = c.in(in), &to = c.out(out);
  if (to.data == nullptr || to.data == from.data) return;
  std::memcpy(to.data, from.data, to.elements() * SizeOf(to.dtype()));
}

// Calls f(P(), G()) with the element types of parameter and gradient.
template <typename F>
absl::Status DispatchOptimizer(DType param, DType grad, F&& f) {
  if (param == DType::kF32 && grad == DType::kF32) {
    f(float(), float());
  } else if (param == DType::kF32 && grad == DType::kBF16) {
    f(float(), BFloat16());
  } else if (param == DType::kF32 && grad == DType::kF16) {
    f(float(), Float16());
  } else if (param == DType::kF64 && grad == DType::kF64) {
    f(double(), double());
  } else {
    return absl::UnimplementedError(absl::StrCat("parameter ", std::string(Name(param)),
                                                 " with gradient ", std::string(Name(grad))));
  }
  return absl::OkStatus();
}

}  // namespace weft
