// Recordings of what a thread enqueues on a CUDA stream, as CUDA graphs.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/device.h"

namespace weft {

// Held while a stream of this process is recorded: a thread that asks a stream how it is holds it,
// too, for that would end a recording, and be answered with an error.
std::mutex& CudaRecordingMutex();

// As DeviceQueue::BeginRecording and EndRecording, both on one thread, which calls the second if
// the first succeeds. Other threads use CUDA meanwhile as they like, but see above.
absl::Status BeginCudaRecording(cudaStream_t stream);
absl::StatusOr<std::unique_ptr<DeviceRecording>> EndCudaRecording(cudaStream_t stream);

}  // namespace weft
