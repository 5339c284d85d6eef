// Recordings of what a thread enqueues on a CUDA stream, as CUDA graphs.
#pragma once

#include <cuda_runtime.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/device.h"

namespace weft {

// As DeviceQueue::BeginRecording and EndRecording, both on one thread, which calls the second if
// the first succeeds. Other threads use CUDA meanwhile as they like; but nobody may ask the stream
// how it is, which would end the recording.
absl::Status BeginCudaRecording(cudaStream_t stream);
absl::StatusOr<std::unique_ptr<DeviceRecording>> EndCudaRecording(cudaStream_t stream);

}  // namespace weft
