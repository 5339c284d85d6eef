// CudaTimeMarks: marks on CUDA streams. The device notes when it passes them, in events.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/time_marks.h"

struct CUevent_st;
struct CUstream_st;

namespace weft {

// All events are made at the start. The device's clock is tied to the host's when marks are read,
// by an event between two looks at the host's clock: right to half of what lies between the looks,
// some microseconds. Set belongs to one thread, the actor thread; so does Read, at another time.
class CudaTimeMarks final : public TimeMarks {
 public:
  // Errors: CUDA's. Destroyed before the device.
  static absl::StatusOr<std::unique_ptr<CudaTimeMarks>> Make(int device, int64_t count);
  ~CudaTimeMarks() override;

  void Set(int64_t index, void* native_stream) override;
  absl::StatusOr<TimeMark> Read(int64_t index) override;

 private:
  struct Mark {
    CUevent_st* event = nullptr;
    int64_t enqueued = 0;
  };

  explicit CudaTimeMarks(int device) : device_(device) {}
  absl::Status TieClocks();

  const int device_;
  CUstream_st* stream_ = nullptr;  // of the anchor alone
  CUevent_st* anchor_ = nullptr;
  int64_t anchor_at_ = 0;  // by the host's clock; 0: to be tied anew
  std::vector<Mark> marks_;
  absl::Status status_;  // the first failure of Set
};

}  // namespace weft
