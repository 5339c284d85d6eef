// CpuStream: a worker thread with a ring of tasks, allocated once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "runtime/stream.h"

namespace weft {

// Runs tasks in order on a thread of its own. The destructor runs what is left, then joins.
class CpuStream final : public Stream {
 public:
  // `capacity`: entries that can wait; rounded up to a power of two. Beyond it Enqueue blocks.
  CpuStream(std::string name, int64_t capacity);
  ~CpuStream() override;

  // Blocks the caller until `event`, of whichever stream, is done.
  static void Await(const Event& event);

 private:
  void Push(const Task& task) override;
  void Work();

  const int64_t capacity_;
  const std::unique_ptr<Task[]> ring_;
  Progress pushed_;
  int64_t next_push_ = 0;        // of the enqueuing thread, as is the next
  int64_t known_completed_ = 0;  // at its last look
  std::thread worker_;
};

}  // namespace weft
