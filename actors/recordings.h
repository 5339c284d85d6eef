// Recordings: kernels that are enqueued one by one at first, and later all together. A device that
// runs short kernels waits for the host to enqueue them; a recording takes one call.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "runtime/device.h"

namespace weft {

// Which kernels are recorded.
enum class Recording {
  kOff,
  kAuto,  // short ones, as far as the sizes of their operands tell
  kOn,    // all but single ones; what cannot be recorded is an error
};

// What one actor enqueues in one go, firing after firing. Addresses repeat after some firings, so
// that there is a recording for each place in that period.
class Recordings {
 public:
  // Longer periods are not recorded: each place in one takes memory of the device's.
  static constexpr int64_t kMostPlaces = 16;

  // `queue` outlives it. `period` from 1 to kMostPlaces. `must`: failing to record is an error.
  Recordings(DeviceQueue& queue, int64_t period, bool must)
      : queue_(queue), must_(must), places_(period) {}

  int64_t period() const { return static_cast<int64_t>(places_.size()); }
  // Has what `enqueue` enqueues done for the firing. It runs as it is in the first period (kernels
  // get ready what they need for good), again to be recorded in the next, and then no more. Errors:
  // those of `enqueue` and the device's. The actor thread; firings come in order.
  absl::Status Run(int64_t firing, void* native_stream, absl::FunctionRef<absl::Status()> enqueue);

 private:
  // Tries so often: something may only have got in the way.
  static constexpr int kAttempts = 3;

  absl::StatusOr<std::unique_ptr<DeviceRecording>> Record(
      void* native_stream, absl::FunctionRef<absl::Status()> enqueue);

  DeviceQueue& queue_;
  const bool must_;
  std::vector<std::unique_ptr<DeviceRecording>> places_;
  int failures_ = 0;
};

}  // namespace weft
