#include "actors/recordings.h"

#include "runtime/status.h"

namespace weft {

absl::Status Recordings::Run(int64_t firing, void* native_stream,
                             absl::FunctionRef<absl::Status()> enqueue) {
  std::unique_ptr<DeviceRecording>& place = places_[firing % period()];
  if (place == nullptr && firing >= period() && failures_ < kAttempts) {
    absl::StatusOr<std::unique_ptr<DeviceRecording>> recorded = Record(native_stream, enqueue);
    if (recorded.ok()) {
      place = *std::move(recorded);
    } else if (++failures_ == kAttempts && must_) {
      return Annotate(recorded.status(), "recording for a CUDA graph (train.cuda_graphs: ON)");
    }
  }
  return place != nullptr ? place->Replay(native_stream) : enqueue();
}

// Nothing has been done if it fails, so that `enqueue` may run again. Its own error comes again
// then, without the device's about an unfinished recording.
absl::StatusOr<std::unique_ptr<DeviceRecording>> Recordings::Record(
    void* native_stream, absl::FunctionRef<absl::Status()> enqueue) {
  WEFT_RETURN_IF_ERROR(queue_.BeginRecording(native_stream));
  const absl::Status status = enqueue();
  absl::StatusOr<std::unique_ptr<DeviceRecording>> recorded = queue_.EndRecording(native_stream);
  WEFT_RETURN_IF_ERROR(status);
  return recorded;
}

}  // namespace weft
