// Errors of CUDA as statuses. The CUDA runtime keeps a thread's last error until somebody asks for
// it, and who checks a launch asks: what was reported here, or was no error, must not stay for
// them.
#pragma once

#include <cuda_runtime.h>

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weft {

// OK, or "`what`: CUDA's text (its name)": ResourceExhausted for want of memory, else Internal. An
// error that does not end the device for good is forgotten by the calling thread.
absl::Status CudaStatus(cudaError_t error, std::string_view what);

// Whether the stream has ended all that was enqueued. An error of the device answers "`what`: ...".
absl::StatusOr<bool> CudaStreamDone(cudaStream_t stream, std::string_view what);

}  // namespace weft
