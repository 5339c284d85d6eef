// Progress: a number that one thread raises and others wait for. Streams stand on two of them: what
// was submitted and what was completed.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace weft {

// Raised by one thread at a time; read and awaited by any. What the raiser wrote before is visible to
// who sees the new value. Raising costs one store and one load while nobody sleeps. Waiters look a
// few times, then sleep: ranks may outnumber cores.
class Progress {
 public:
  int64_t value() const { return value_.load(std::memory_order_acquire); }
  // Sets the value, which never falls.
  void Advance(int64_t value) {
    value_.store(value, std::memory_order_seq_cst);
    if (waiters_.load(std::memory_order_seq_cst) != 0) Wake();
  }
  // Blocks until value() >= `value`.
  void Await(int64_t value) const;
  // The same with a limit; false if the time ran out.
  bool AwaitFor(int64_t value, std::chrono::nanoseconds limit) const;

 private:
  bool Spin(int64_t value) const;
  void Wake();

  alignas(64) std::atomic<int64_t> value_{0};
  mutable std::atomic<int> waiters_{0};
  mutable std::mutex mutex_;
  mutable std::condition_variable raised_;
};

}  // namespace weft
