#include "runtime/progress.h"

#include <thread>

namespace weft {
namespace {

// Looks before sleeping: some at once, about a tenth of a microsecond, then some that let others run,
// who may be just those one waits for.
constexpr int kSpins = 100;
constexpr int kYields = 8;

}  // namespace

bool Progress::Spin(int64_t value) const {
  for (int i = 0; i < kSpins; ++i) {
    if (this->value() >= value) return true;
  }
  for (int i = 0; i < kYields; ++i) {
    std::this_thread::yield();
    if (this->value() >= value) return true;
  }
  return false;
}

void Progress::Wake() {
  { std::lock_guard<std::mutex> lock(mutex_); }  // a waiter between its look and its sleep
  raised_.notify_all();
}

void Progress::Await(int64_t value) const {
  if (Spin(value)) return;
  std::unique_lock<std::mutex> lock(mutex_);
  waiters_.fetch_add(1, std::memory_order_seq_cst);
  raised_.wait(lock, [&] { return value_.load(std::memory_order_seq_cst) >= value; });
  waiters_.fetch_sub(1, std::memory_order_relaxed);
}

bool Progress::AwaitFor(int64_t value, std::chrono::nanoseconds limit) const {
  if (Spin(value)) return true;
  std::unique_lock<std::mutex> lock(mutex_);
  waiters_.fetch_add(1, std::memory_order_seq_cst);
  const bool reached = raised_.wait_for(
      lock, limit, [&] { return value_.load(std::memory_order_seq_cst) >= value; });
  waiters_.fetch_sub(1, std::memory_order_relaxed);
  return reached;
}

}  // namespace weft
