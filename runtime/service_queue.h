// What any thread hands to whoever serves a transport next: requests, notes, the failure, the wish
// to close. A transport whose library takes calls from one thread at a time stands between the two.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "runtime/transport.h"

namespace weft {

// Owned by its transport. All functions may be called from any thread.
class ServiceQueue {
 public:
  // Everything handed over since the last Take, and the state.
  struct Note {
    int to;
    std::string text;
  };
  struct Work {
    RequestList requests;
    std::vector<Note> notes;
    absl::Status poison;
    int origin = -1;           // the rank where the poison began
    bool tell_poison = false;  // it began here, and this is the first Take since
    bool closing = false;
  };

  // Takes the request, or answers the poison.
  absl::Status Push(Request* request);
  void PushNote(int to, std::string_view text);
  // Records the failure of rank `origin`; false if there was one. `here`: that is this rank.
  bool Poison(int origin, const absl::Status& failure, bool here);
  void Close();

  // Whether there is something that Take has not given out.
  bool news() const { return news_.load(); }
  // Whether a Sleep is under way, which only a Push ends early.
  bool sleeping() const { return sleeping_.load(std::memory_order_relaxed); }
  Work Take();
  // How often something was handed over; for Sleep.
  uint64_t changes() const;
  // Sleeps until changes() differs from `seen`, or at most `longest`.
  void Sleep(uint64_t seen, std::chrono::microseconds longest);
  // Sleeps until Rouse, Poison or Close, or at most `longest`. Unlike Sleep it lets Push be.
  void Doze(std::chrono::microseconds longest);
  void Rouse();

 private:
  // Notes a change with mutex_ held; whether a sleeper must be woken.
  bool NoteChange();

  mutable std::mutex mutex_;  // guards all but the atomics
  std::condition_variable wake_;
  Work work_;
  uint64_t changes_ = 0;
  bool roused_ = false;                // since the last Doze
  std::atomic<bool> sleeping_{false};  // written with mutex_ held
  std::atomic<bool> news_{false};
};

}  // namespace weft
