// CudaMonitor: the thread that sees what a device's streams have completed, so that no other thread
// waits for the device.
#pragma once

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "runtime/progress.h"

struct CUstream_st;

namespace weft {

// What the monitor looks at.
class CudaWatched {
 public:
  virtual ~CudaWatched() = default;
  // On the monitor's thread, with the device current. Whether it still waits for something.
  virtual bool Poll() = 0;
};

// Sleeps for some microseconds between looks while something is under way, else until Wake.
class CudaMonitor {
 public:
  explicit CudaMonitor(int device);
  ~CudaMonitor();
  CudaMonitor(const CudaMonitor&) = delete;
  CudaMonitor& operator=(const CudaMonitor&) = delete;

  void Add(CudaWatched* watched);
  // Returns once it is not being looked at and never will be.
  void Remove(CudaWatched* watched);
  // Whether the device still works: its own error if not. Asks a stream on which nothing runs, so
  // that no recording of another is disturbed and nobody's work is waited for. The monitor's thread.
  absl::Status AskDevice() const;
  // Something was enqueued. One thread at a time.
  void Wake() { wakes_.Advance(wakes_.value() + 1); }

 private:
  void Work();

  const int device_;
  std::mutex mutex_;  // guards watched_
  std::vector<CudaWatched*> watched_;
  Progress wakes_;
  std::atomic<bool> stops_{false};
  CUstream_st* idle_ = nullptr;  // of the thread
  std::thread thread_;
};

}  // namespace weft
