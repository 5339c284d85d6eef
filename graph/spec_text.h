// Tensor types written as text, and the sizes that weft can count without overflow.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/tensor_spec.h"

namespace weft {

// InvalidArgument for a negative extent, more than 2^56 elements or more than 32 dimensions.
absl::Status CheckSize(const TensorSpec& spec);
// Reads what TensorSpec::ToString prints, "f32[4,3]" or "f32[]"; the result passes CheckSize.
absl::StatusOr<TensorSpec> ParseSpec(const std::string& text);

}  // namespace weft
