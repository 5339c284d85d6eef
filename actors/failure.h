// Failure: the first thing that went wrong on a rank. Once it is set the remaining tasks are skipped,
// so that every stream drains.
#pragma once

#include <atomic>
#include <mutex>

#include "absl/status/status.h"
#include "runtime/transport.h"

namespace weft {

// Owned by the executor; set and read on any thread.
class Failure {
 public:
  // `transport`, if not null, is poisoned by the first failure and tells of those of other ranks.
  Failure(int rank, Transport* transport) : rank_(rank), transport_(transport) {}

  bool failed() const { return failed_.load(std::memory_order_acquire); }
  // Records `status` (not OK) unless a failure is known; becomes "rank N failed: ..." on all ranks.
  void Set(const absl::Status& status);
  // Takes over a failure that another rank has spread, if there is one.
  void Poll();
  // OK, or the first failure.
  absl::Status status() const;

 private:
  void Record(const absl::Status& status);

  const int rank_;
  Transport* const transport_;
  std::atomic<bool> failed_{false};
  mutable std::mutex mutex_;  // guards status_
  absl::Status status_;
};

}  // namespace weft
