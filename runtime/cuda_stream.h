// CudaStream: a stream of a CUDA device. Tasks run as soon as they are enqueued, on the actor
// thread, and enqueue kernels and copies; the device itself counts what it has completed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/cuda_monitor.h"
#include "runtime/stream.h"

struct CUevent_st;
struct CUstream_st;

namespace weft {

// Behind a task the device writes its position to host memory, where the monitor sees it; not behind
// a task of `more`, since the write waits for all before it and takes some microseconds. Behind
// every task an event is recorded, for which other streams wait on the device. Where the position
// asked for lies between events, the next event stands for it.
class CudaStream final : public Stream, private CudaWatched {
 public:
  // `monitor` is the device's and outlives the stream. `urgent`: goes before others where both have
  // work. Errors: CUDA's.
  static absl::StatusOr<std::unique_ptr<CudaStream>> Make(std::string name, int device,
                                                          CudaMonitor& monitor, bool urgent);
  // Waits until the device has ended what was enqueued.
  ~CudaStream() override;

  std::optional<Breakdown> breakdown() const override;

 private:
  // An event and the position behind which it was recorded.
  struct Mark {
    CUevent_st* event = nullptr;
    int64_t position = 0;
  };
  static constexpr int64_t kMarks = 1024;

  CudaStream(std::string name, CUstream_st* native, int device, CudaMonitor& monitor);
  void Push(const Task& task) override;
  bool Poll() override;
  absl::Status WaitFor(const Stream& other, int64_t position);
  // The first event at or behind `position`, recorded now if there is none.
  absl::StatusOr<CUevent_st*> EventAt(int64_t position);
  absl::Status Record(int64_t position);
  absl::Status Signal(int64_t position);
  void Break(const absl::Status& status);

  CUstream_st* const native_;
  const int device_;
  CudaMonitor& monitor_;
  volatile int64_t* counter_ = nullptr;  // pinned; written by the device
  std::vector<Mark> marks_;              // a ring, of the actor thread
  int64_t recorded_ = 0;                 // marks so far
  std::atomic<int64_t> pushed_{0};
  std::atomic<bool> broken_{false};
  int64_t quiet_looks_ = 0;   // of the monitor, since something was completed
  mutable std::mutex mutex_;  // guards breakdown_
  std::optional<Breakdown> breakdown_;
};

}  // namespace weft
