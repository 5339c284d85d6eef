#include "runtime/service_queue.h"

#include <utility>

namespace weft {

bool ServiceQueue::NoteChange() {
  ++changes_;
  news_.store(true);
  return sleeping_;
}

absl::Status ServiceQueue::Push(Request* request) {
  bool wake = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!work_.poison.ok()) return work_.poison;
    work_.requests.Push(request);
    wake = NoteChange();
  }
  if (wake) wake_.notify_one();
  return absl::OkStatus();
}

void ServiceQueue::PushNote(int to, std::string_view text) {
  bool wake = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    work_.notes.push_back({to, std::string(text)});
    wake = NoteChange();
  }
  if (wake) wake_.notify_one();
}

bool ServiceQueue::Poison(int origin, const absl::Status& failure, bool here) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!work_.poison.ok()) return false;
    work_.poison = failure;
    work_.origin = origin;
    work_.tell_poison = here;
    roused_ = true;
    NoteChange();
  }
  wake_.notify_one();
  return true;
}

void ServiceQueue::Close() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    work_.closing = true;
    roused_ = true;
    NoteChange();
  }
  wake_.notify_one();
}

ServiceQueue::Work ServiceQueue::Take() {
  std::lock_guard<std::mutex> lock(mutex_);
  news_.store(false);
  Work work = work_;
  work_.requests = RequestList();
  work_.notes.clear();
  work_.tell_poison = false;
  return work;
}

uint64_t ServiceQueue::changes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return changes_;
}

void ServiceQueue::Sleep(uint64_t seen, std::chrono::microseconds longest) {
  std::unique_lock<std::mutex> lock(mutex_);
  sleeping_ = true;
  wake_.wait_for(lock, longest, [this, seen] { return changes_ != seen; });
  sleeping_ = false;
}

void ServiceQueue::Doze(std::chrono::microseconds longest) {
  std::unique_lock<std::mutex> lock(mutex_);
  wake_.wait_for(lock, longest, [this] { return roused_; });
  roused_ = false;
}

void ServiceQueue::Rouse() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    roused_ = true;
  }
  wake_.notify_one();
}

}  // namespace weft
