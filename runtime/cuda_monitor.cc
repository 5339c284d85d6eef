#include "runtime/cuda_monitor.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>

#include "runtime/cuda_status.h"

namespace weft {
namespace {

constexpr std::chrono::microseconds kLookInterval{20};
constexpr std::chrono::milliseconds kIdleInterval{20};

}  // namespace

CudaMonitor::CudaMonitor(int device) : device_(device), thread_([this] { Work(); }) {}

CudaMonitor::~CudaMonitor() {
  stops_.store(true, std::memory_order_release);
  thread_.join();
}

void CudaMonitor::Add(CudaWatched* watched) {
  const std::lock_guard<std::mutex> lock(mutex_);
  watched_.push_back(watched);
}

void CudaMonitor::Remove(CudaWatched* watched) {
  const std::lock_guard<std::mutex> lock(mutex_);
  watched_.erase(std::find(watched_.begin(), watched_.end(), watched));
}

absl::Status CudaMonitor::AskDevice() const {
  return CudaStreamDone(idle_, "the device stopped").status();
}

void CudaMonitor::Work() {
  cudaSetDevice(device_);
  cudaStreamCreateWithFlags(&idle_, cudaStreamNonBlocking);
  while (!stops_.load(std::memory_order_acquire)) {
    const int64_t seen = wakes_.value();
    bool busy = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (CudaWatched* watched : watched_) busy = watched->Poll() || busy;
    }
    if (busy) {
      std::this_thread::sleep_for(kLookInterval);
    } else {
      wakes_.AwaitFor(seen + 1, kIdleInterval);
    }
  }
  cudaStreamDestroy(idle_);
}

}  // namespace weft
