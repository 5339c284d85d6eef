// What the optimizer ops have in common: a parameter with states of its spec, a gradient that may
// be in a smaller dtype, and f32 scalars made once per step.
#pragma once

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "runtime/kernel.h"
#include "runtime/status.h"

namespace weft {

// Inputs 0 .. states are the parameter and its states, the next the gradient, then `scalars` f32
// scalars. Parameters are f32 (f64 in checks); masters are never bf16.
inline absl::Status CheckOptimizerInputs(const InferContext& c, int states, int scalars) {
  const TensorSpec& param = c.in(0);
  if (param.dtype != DType::kF32 && param.dtype != DType::kF64) {
    return absl::InvalidArgumentError(
        absl::StrCat("parameter is ", param.ToString(), "; optimizers keep parameters in f32"));
  }
  for (int i = 1; i <= states; ++i) WEFT_RETURN_IF_ERROR(RequireSpec(c, i, param));
  const int grad = states + 1;
  if (c.in(grad).dtype != DType::kBF16 || param.dtype != DType::kF32) {
    WEFT_RETURN_IF_ERROR(RequireSpec(c, grad, param));
  } else {
    WEFT_RETURN_IF_ERROR(RequireSpec(c, grad, {param.shape, DType::kBF16}));
  }
  for (int i = grad + 1; i <= grad + scalars; ++i) {
    WEFT_RETURN_IF_ERROR(RequireSpec(c, i, {{}, DType::kF32}));
  }
  return absl::OkStatus();
}

// Calls f(P(), G()) with the element types of parameter and gradient.
template <typename F>
absl::Status DispatchOptimizer(DType param, DType grad, F&& f) {
  if (param == DType::kF32 && grad == DType::kF32) {
    f(float(), float());
  } else if (param == DType::kF32 && grad == DType::kBF16) {
    f(float(), BFloat16());
  } else if (param == DType::kF64 && grad == DType::kF64) {
    f(double(), double());
  } else {
    return absl::UnimplementedError(absl::StrCat("parameter ", std::string(Name(param)),
                                                 " with gradient ", std::string(Name(grad))));
  }
  return absl::OkStatus();
}

}  // namespace weft
