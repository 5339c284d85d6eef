// FakeGpu: a device that enqueues as CUDA does, without a GPU: its tasks run on the actor thread
// and return at once, while threads do what they enqueued. It computes what the CPU does, bit for
// bit.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/cpu_device.h"
#include "runtime/device.h"
#include "tests/system/fake_gpu_host.h"
#include "tests/system/fake_gpu_kernels.h"
#include "tests/system/fake_gpu_queue.h"
#include "tests/system/fake_gpu_stream.h"

namespace weft::testing {

class FakeGpu final : public Device {
 public:
  // `host` is shared with the other ranks and outlives them.
  FakeGpu(FakeGpuHost& host, int rank);

  DeviceQueue* queue() override { return &queue_; }
  absl::StatusOr<Arena> Allocate(int64_t bytes) override { return Arena::Allocate(bytes); }
  absl::StatusOr<Arena> AllocateStaging(int64_t bytes) override { return Arena::Allocate(bytes); }
  absl::Status Write(void* device, const void* host, int64_t bytes) override {
    return cpu_.Write(device, host, bytes);
  }
  absl::Status Read(void* host, const void* device, int64_t bytes) override {
    return cpu_.Read(host, device, bytes);
  }
  absl::StatusOr<std::unique_ptr<Stream>> MakeStream(const std::string& name, int64_t capacity,
                                                     Work work) override;
  // All-reduces alone.
  absl::StatusOr<std::unique_ptr<Communicator>> MakeCommunicator(Transport& transport,
                                                                 std::vector<int> ranks,
                                                                 uint32_t tag) override;
  Kernel copy_kernel() const override { return &FakeGpuCopy; }

  FakeGpuState& kernels_state() { return static_cast<FakeGpuState&>(*state()); }

 private:
  FakeGpuHost& host_;
  const int rank_;
  CpuDevice cpu_;
  FakeGpuQueue queue_;
  FakeGpuLoader loader_;
  int streams_ = 0;
};

}  // namespace weft::testing
