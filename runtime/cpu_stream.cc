#include "runtime/cpu_stream.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace weft {
namespace {

int64_t RoundUp(int64_t capacity) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(capacity, 2))));
}

}  // namespace

CpuStream::CpuStream(std::string name, int64_t capacity)
    : Stream(std::move(name)),
      capacity_(RoundUp(capacity)),
      ring_(std::make_unique<Task[]>(capacity_)),
      worker_([this] { Work(); }) {}

CpuStream::~CpuStream() {
  Push({});  // neither task nor event: the end
  worker_.join();
}

void CpuStream::Await(const Event& event) {
  if (event.stream != nullptr) event.stream->completed().Await(event.position);
}

void CpuStream::Push(const Task& task) {
  if (next_push_ - known_completed_ >= capacity_) {
    completed_.Await(next_push_ - capacity_ + 1);
    known_completed_ = completed_.value();
  }
  ring_[next_push_ & (capacity_ - 1)] = task;
  pushed_.Advance(++next_push_);
}

void CpuStream::Work() {
  int64_t known = 0;
  for (int64_t next = 0;; ++next) {
    if (next >= known) {
      pushed_.Await(next + 1);
      known = pushed_.value();
    }
    const Task& task = ring_[next & (capacity_ - 1)];
    if (task.run != nullptr) {
      task.run(task.context, task.argument);
    } else if (task.context != nullptr) {
      static_cast<const Stream*>(task.context)->completed().Await(task.argument);
    } else {
      return;
    }
    completed_.Advance(next + 1);
  }
}

}  // namespace weft
