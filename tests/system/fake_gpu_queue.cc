#include "tests/system/fake_gpu_queue.h"

#include <cstring>
#include <utility>
#include <vector>

#include "runtime/box_copy.h"
#include "tests/system/fake_gpu_messenger.h"
#include "tests/system/fake_gpu_stream.h"

namespace weft::testing {
namespace {

class BoxCopies final : public DeviceBoxCopies {
 public:
  explicit BoxCopies(absl::Span<const BoxCopy> copies) : copies_(copies.begin(), copies.end()) {}

  absl::Status Copy(int index, const void* from, void* to, void* native_stream) override {
    const BoxCopy& copy = copies_[index];
    FakeGpuNative::Of(native_stream).Enqueue([&copy, from, to] { copy.Copy(from, to); });
    return absl::OkStatus();
  }
  absl::Status Combine(int index, Monoid monoid, const void* from, void* to,
                       void* native_stream) override {
    const BoxCopy& copy = copies_[index];
    FakeGpuNative::Of(native_stream).Enqueue([&copy, monoid, from, to] {
      copy.Combine(monoid, from, to);
    });
    return absl::OkStatus();
  }

 private:
  const std::vector<BoxCopy> copies_;
};

// One call, as a CUDA graph is.
class WorkRecording final : public DeviceRecording {
 public:
  explicit WorkRecording(std::vector<FakeGpuWork> work)
      : work_(std::make_shared<const std::vector<FakeGpuWork>>(std::move(work))) {}

  absl::Status Replay(void* native_stream) override {
    FakeGpuNative& native = FakeGpuNative::Of(native_stream);
    if (!std::exchange(loaded_, true)) native.loader().Load();
    native.Enqueue([work = work_] {
      for (const FakeGpuWork& each : *work) each();
    });
    return absl::OkStatus();
  }

 private:
  const std::shared_ptr<const std::vector<FakeGpuWork>> work_;
  bool loaded_ = false;
};

absl::Status CopyLater(void* to, const void* from, int64_t bytes, void* native_stream) {
  FakeGpuNative::Of(native_stream).Enqueue([to, from, bytes] {
    if (bytes > 0) std::memcpy(to, from, bytes);
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status FakeGpuQueue::CopyIn(void* device, const void* host, int64_t bytes,
                                  void* native_stream) {
  return CopyLater(device, host, bytes, native_stream);
}

absl::Status FakeGpuQueue::CopyOut(void* host, const void* device, int64_t bytes,
                                   void* native_stream) {
  return CopyLater(host, device, bytes, native_stream);
}

absl::Status FakeGpuQueue::CallHost(void (*function)(void*), void* argument, void* native_stream) {
  FakeGpuNative::Of(native_stream).Enqueue([function, argument] { function(argument); });
  return absl::OkStatus();
}

absl::Status FakeGpuQueue::BeginRecording(void* native_stream) {
  FakeGpuNative::Of(native_stream).BeginRecording();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DeviceRecording>> FakeGpuQueue::EndRecording(void* native_stream) {
  return std::make_unique<WorkRecording>(FakeGpuNative::Of(native_stream).EndRecording());
}

absl::Status FakeGpuQueue::FillIdentity(DType dtype, Monoid monoid, void* data, int64_t count,
                                        void* native_stream) {
  FakeGpuNative::Of(native_stream).Enqueue([dtype, monoid, data, count] {
    weft::FillIdentity(dtype, monoid, data, count);
  });
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DeviceBoxCopies>> FakeGpuQueue::Prepare(
    absl::Span<const BoxCopy> copies) {
  return std::make_unique<BoxCopies>(copies);
}

std::unique_ptr<DeviceMessenger> FakeGpuQueue::MakeMessenger(Transport& transport) {
  return std::make_unique<FakeGpuMessenger>(host_, transport);
}

}  // namespace weft::testing
