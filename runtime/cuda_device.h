// CudaDevice: one GPU, as the rank that owns it sees it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/cuda_collectives.h"
#include "runtime/cuda_monitor.h"
#include "runtime/device.h"

namespace weft {

// What a device is, as far as people and plans care.
struct CudaDeviceFacts {
  std::string name;  // "NVIDIA H200"
  int major = 0;     // compute capability
  int minor = 0;
  int multiprocessors = 0;
  int64_t memory_bytes = 0;  // in all
  int64_t free_bytes = 0;    // just now
};

// How many GPUs this process sees. FailedPrecondition, with CUDA's own text, where there is no
// driver or no device.
absl::StatusOr<int> CountCudaDevices();
absl::StatusOr<CudaDeviceFacts> FactsOfCudaDevice(int ordinal);

class CudaDevice final : public Device {
 public:
  // GPU `ordinal` of those that this process sees; becomes the calling thread's current device.
  static absl::StatusOr<std::unique_ptr<CudaDevice>> Make(int ordinal);
  ~CudaDevice() override;

  int ordinal() const { return ordinal_; }
  DeviceQueue* queue() override { return queue_.get(); }
  absl::StatusOr<Arena> Allocate(int64_t bytes) override;
  absl::StatusOr<Arena> AllocateStaging(int64_t bytes) override;
  absl::Status Write(void* device, const void* host, int64_t bytes) override;
  absl::Status Read(void* host, const void* device, int64_t bytes) override;
  absl::StatusOr<std::unique_ptr<Stream>> MakeStream(const std::string& name, int64_t capacity,
                                                     Work work) override;
  absl::StatusOr<std::unique_ptr<TimeMarks>> MakeTimeMarks(int64_t count) override;
  absl::StatusOr<std::unique_ptr<Communicator>> MakeCommunicator(Transport& transport,
                                                                 std::vector<int> ranks,
                                                                 uint32_t tag) override;
  Kernel copy_kernel() const override;
  // What was free when the device was made, less what libraries will want.
  int64_t memory_bytes() const override { return memory_bytes_; }
  double peak_flops(DType dtype, bool tf32) const override;

 private:
  CudaDevice(int ordinal, const CudaDeviceFacts& facts);
  absl::Status Use() const;

  const int ordinal_;
  const CudaDeviceFacts facts_;
  const int64_t memory_bytes_;
  CudaMonitor monitor_;
  std::unique_ptr<CudaCollectives> collectives_;  // watched by the monitor
  std::unique_ptr<DeviceQueue> queue_;
};

}  // namespace weft
