// Recordings of what a thread enqueues on a CUDA stream, as CUDA graphs.
#pragma once

#include <cuda_runtime.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/device.h"

namespace weft {

// As DeviceQueue::BeginRecording and EndRecording. Other threads use CUDA meanwhile as they like,
// but for asking the stream how it is: that ends the recording, and EndCudaRecording says so.
absl::Status BeginCudaRecording(cudaStream_t stream);
absl::StatusOr<std::unique_ptr<DeviceRecording>> EndCudaRecording(cudaStream_t stream);

}  // namespace weft
