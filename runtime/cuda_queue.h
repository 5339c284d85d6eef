// CudaQueue: what actors enqueue on CUDA streams besides kernels and collectives.
#pragma once

#include <memory>

#include "runtime/cuda_collectives.h"
#include "runtime/cuda_monitor.h"
#include "runtime/device.h"

namespace weft {

class CudaQueue final : public DeviceQueue {
 public:
  // All outlive it; `ordinal` is the device's number in this process.
  CudaQueue(Device& device, int ordinal, CudaMonitor& monitor, CudaCollectives& collectives)
      : device_(device), ordinal_(ordinal), monitor_(monitor), collectives_(collectives) {}

  absl::Status CopyIn(void* device, const void* host, int64_t bytes, void* native_stream) override;
  absl::Status CopyOut(void* host, const void* device, int64_t bytes, void* native_stream) override;
  absl::Status CallHost(void (*function)(void*), void* argument, void* native_stream) override;
  absl::Status BeginRecording(void* native_stream) override;
  absl::StatusOr<std::unique_ptr<DeviceRecording>> EndRecording(void* native_stream) override;
  absl::Status FillIdentity(DType dtype, Monoid monoid, void* data, int64_t count,
                            void* native_stream) override;
  absl::StatusOr<std::unique_ptr<DeviceBoxCopies>> Prepare(
      absl::Span<const BoxCopy> copies) override;
  std::unique_ptr<DeviceMessenger> MakeMessenger(Transport& transport) override;

 private:
  Device& device_;
  const int ordinal_;
  CudaMonitor& monitor_;
  CudaCollectives& collectives_;
};

}  // namespace weft
