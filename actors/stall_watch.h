// StallWatch: lets a stall explain itself over all ranks. A rank that makes no progress, or that is
// asked by a signal, has the reports of all ranks gathered and printed once; a rank that does not
// answer is named as absent. It works by notes of the transport and a thread of its own, so that it
// does so whatever the rank's other threads are stuck in.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "actors/executor.h"
#include "actors/stall_note.pb.h"
#include "actors/stall_report.h"
#include "runtime/transport.h"

namespace weft {

struct StallWatchOptions {
  // How long a watched rank may make no progress before all ranks fail with DeadlineExceeded; 0:
  // for ever. Longer than the longest kernel.
  std::chrono::milliseconds deadline{0};
  // How long a rank may take to answer before it counts as absent, and to gather before the next
  // rank does.
  std::chrono::milliseconds patience{2000};
  // A signal handler raises it to have all reports printed; null: nobody does. Every rank may look
  // at the same one, or be signalled: reports are printed once all the same.
  const std::atomic<int>* requests = nullptr;
  // Prints the reports, on the watch's thread of the rank that gathered them; by default to stderr.
  std::function<void(const std::string&)> print;
  // Ends the process, since this rank is still there `abort_after` after the network was poisoned;
  // empty where somebody else does that (MPI). On the watch's thread.
  std::function<void(const absl::Status&)> abort;
  std::chrono::milliseconds abort_after{10000};
};

// One per rank, on every rank of the transport, which outlives it. Rank 0 gathers; if it is absent,
// the next one that is not. All functions but the constructor and destructor: any thread.
class StallWatch {
 public:
  StallWatch(Transport& transport, StallWatchOptions options);
  ~StallWatch();
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

  // What the rank does outside of plans, for its report ("saving a checkpoint"). It counts as
  // progress. `watched`: the deadline holds for it.
  void Doing(std::string what, bool watched);
  // For ExecutorOptions.on_report of the executors that are watched.
  void Answer(const StallReport& report);

  // Watches `executor` while it lives; one at a time. The watch and the executor outlive it.
  class Scope {
   public:
    Scope(StallWatch* watch, Executor* executor);  // a null watch watches nothing
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    StallWatch* const watch_;
  };

 private:
  using Clock = std::chrono::steady_clock;
  // Reports that this rank is gathering.
  struct Gathering {
    int64_t number;
    Clock::time_point start;
    std::string stall;  // why the run must end; empty: it goes on
    std::vector<std::optional<RankReportDef>> reports;
  };
  struct Ask {
    int from;
    int64_t gathering;
    Clock::time_point since;
  };

  void SetExecutor(Executor* executor);
  // The rest runs on the watch's thread.
  void Run();
  void Handle(int from, const StallNote& note);
  void Want(const std::string& stall);
  void LookAtSignals();
  void LookAtDeadline();
  void LookAtFailure();
  void AnswerAsks();
  void StartGathering(std::string stall);
  void FinishGathering();
  void Send(int to, const StallNote& note);

  Transport& transport_;
  const StallWatchOptions options_;

  std::mutex mutex_;  // guards this block
  std::condition_variable wake_;
  bool stopping_ = false;
  std::deque<std::pair<int, std::string>> inbox_;  // sender, note
  Executor* executor_ = nullptr;
  std::string doing_ = "starting";
  bool watched_ = false;
  Clock::time_point since_ = Clock::now();  // of the last progress seen
  std::optional<RankReportDef> answer_;     // of the actor thread

  // The watch's thread alone.
  int requests_seen_ = 0;
  int64_t progress_seen_ = -1;
  bool stalled_ = false;               // said once
  std::optional<std::string> wanted_;  // asked rank 0 to gather, and have not heard of it
  Clock::time_point wanted_since_;
  std::vector<Ask> asks_;  // not yet answered
  std::optional<Gathering> gathering_;
  int64_t gatherings_ = 0;
  Clock::time_point gathered_at_;  // the last one's end
  std::optional<Clock::time_point> failed_at_;
  std::thread thread_;  // last: it uses all above
};

}  // namespace weft
