#include "runtime/cuda_queue.h"

#include <cuda_runtime.h>

#include "runtime/cuda_box_copies.h"
#include "runtime/cuda_box_kernels.h"
#include "runtime/cuda_peer_messenger.h"
#include "runtime/cuda_recording.h"
#include "runtime/cuda_status.h"
#include "runtime/status.h"

namespace weft {
namespace {

cudaStream_t Native(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace

absl::Status CudaQueue::CopyIn(void* device, const void* host, int64_t bytes, void* native_stream) {
  if (bytes == 0) return absl::OkStatus();
  return CudaStatus(
      cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, Native(native_stream)),
      "copying to the device");
}

absl::Status CudaQueue::CopyOut(void* host, const void* device, int64_t bytes,
                                void* native_stream) {
  if (bytes == 0) return absl::OkStatus();
  return CudaStatus(
      cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, Native(native_stream)),
      "copying from the device");
}

absl::Status CudaQueue::CallHost(void (*function)(void*), void* argument, void* native_stream) {
  return CudaStatus(cudaLaunchHostFunc(Native(native_stream), function, argument),
                    "cudaLaunchHostFunc");
}

absl::Status CudaQueue::BeginRecording(void* native_stream) {
  return BeginCudaRecording(Native(native_stream));
}

absl::StatusOr<std::unique_ptr<DeviceRecording>> CudaQueue::EndRecording(void* native_stream) {
  return EndCudaRecording(Native(native_stream));
}

absl::Status CudaQueue::FillIdentity(DType dtype, Monoid monoid, void* data, int64_t count,
                                     void* native_stream) {
  return CudaStatus(LaunchFillIdentity(dtype, monoid, data, count, Native(native_stream)),
                    "filling with the identity");
}

absl::StatusOr<std::unique_ptr<DeviceBoxCopies>> CudaQueue::Prepare(
    absl::Span<const BoxCopy> copies) {
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(ordinal_), "cudaSetDevice"));
  return CudaBoxCopies::Make(device_, copies);
}

std::unique_ptr<DeviceMessenger> CudaQueue::MakeMessenger(Transport& transport) {
  return std::make_unique<PeerMessenger>(transport, device_, ordinal_, monitor_, collectives_);
}

}  // namespace weft
