// What actors enqueue on streams of a fake GPU besides kernels and collectives.
#pragma once

#include <memory>

#include "runtime/device.h"
#include "tests/system/fake_gpu_host.h"

namespace weft::testing {

class FakeGpuQueue final : public DeviceQueue {
 public:
  explicit FakeGpuQueue(FakeGpuHost& host) : host_(host) {}

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
  FakeGpuHost& host_;
};

}  // namespace weft::testing
