// Errors of CUDA as statuses.
#pragma once

#include <cuda_runtime.h>

#include <string_view>

#include "absl/status/status.h"

namespace weft {

// OK, or "`what`: CUDA's text (its name)": ResourceExhausted for want of memory, else Internal.
absl::Status CudaStatus(cudaError_t error, std::string_view what);

}  // namespace weft
