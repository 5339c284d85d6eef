// TimeMarks: moments on a device's streams, noted as work passes them and read afterwards. The
// times of a trace are made of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace weft {

// The host's steady clock, in nanoseconds. All times of marks are on it.
inline int64_t HostNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// A moment, in nanoseconds.
struct TimeMark {
  int64_t at = 0;  // when the stream got there; 0: it never did
  // When the host had enqueued all that comes before it, where a device has work enqueued; 0 where
  // the host does the work itself. A stream that got to the mark before waited for the host.
  int64_t enqueued = 0;
};

// A fixed number of marks, made at the start. Set allocates nothing.
class TimeMarks {
 public:
  virtual ~TimeMarks() = default;
  TimeMarks(const TimeMarks&) = delete;
  TimeMarks& operator=(const TimeMarks&) = delete;

  // In a task of a stream: mark `index` is where the stream is then, behind what has been enqueued
  // on `native_stream` (Stream::native_stream). Never waits. Later calls move the mark. Different
  // marks may be set by different threads.
  virtual void Set(int64_t index, void* native_stream) = 0;
  // Once the streams have passed the mark and the reader knows of it. Errors: the device's own,
  // also those of Set.
  virtual absl::StatusOr<TimeMark> Read(int64_t index) = 0;

 protected:
  TimeMarks() = default;
};

// Marks on streams whose tasks are done when they return.
class HostTimeMarks final : public TimeMarks {
 public:
  explicit HostTimeMarks(int64_t count) : at_(std::make_unique<int64_t[]>(count)) {}
  void Set(int64_t index, void*) override { at_[index] = HostNanoseconds(); }
  absl::StatusOr<TimeMark> Read(int64_t index) override { return TimeMark{.at = at_[index]}; }

 private:
  const std::unique_ptr<int64_t[]> at_;
};

}  // namespace weft
