#include "runtime/polled_transport.h"

#include <sys/prctl.h>

#include <utility>

#include "runtime/logging.h"

namespace weft {
namespace {

using Clock = std::chrono::steady_clock;

// A waiting thread polls this often in one go, then with yields, before it leaves that to the
// transport's thread and sleeps.
constexpr int kEagerPolls = 50;
constexpr int kWaitingPolls = 2000;
// The transport's thread polls this often before it naps: shortly at first; it dozes while
// another thread polls. After some naps with nothing in flight it sleeps until work comes, or
// until it is time to ask for failures of other ranks.
constexpr int kBusyPolls = 100;
constexpr int kShortNaps = 300;
constexpr int kIdleNaps = 20;
constexpr std::chrono::microseconds kShortNap{20};
constexpr std::chrono::microseconds kLongNap{200};
constexpr std::chrono::microseconds kIdleSleep{5000};
constexpr std::chrono::microseconds kDoze{2000};

}  // namespace

PolledTransport::PolledTransport(int rank, int size, std::chrono::milliseconds abort_after)
    : Transport(rank, size), abort_after_(abort_after) {}

void PolledTransport::Send(int to, uint32_t tag, const void* data, int64_t bytes,
                           Request* request) {
  if (Accept(/*is_send=*/true, to, tag, data, bytes, request)) Submit(request);
}

void PolledTransport::Receive(int from, uint32_t tag, void* data, int64_t bytes, Request* request) {
  if (Accept(/*is_send=*/false, from, tag, data, bytes, request)) Submit(request);
}

void PolledTransport::Submit(Request* request) {
  if (StartAtOnce(request)) return;
  absl::Status poison = queue_.Push(request);
  if (poison.ok()) {
    TryServe(/*poll=*/false);
  } else {
    request->Complete(std::move(poison));
  }
}

// Without the queue, where nobody else uses the library and nothing is before it in the queue.
bool PolledTransport::StartAtOnce(Request* request) {
  if (queue_.news() || queue_.sleeping() || serving_.exchange(true)) return false;
  const bool free = failure_.ok() && !queue_.news();
  if (free) StartOne(request);
  Release();
  return free;
}

void PolledTransport::StartOne(Request* request) {
  if (request->wire.peer == rank()) {
    StartSelf(request);
  } else {
    Start(request);
  }
}

absl::Status PolledTransport::Wait(const Request& request) {
  if (!request.in_flight()) return request.status();
  PollEagerly(request);
  if (!request.in_flight()) {
    if (blocked_.load() > 0) queue_.Rouse();
    return request.status();
  }
  waiting_.fetch_add(1);
  for (int i = 0; i < kWaitingPolls && request.in_flight(); ++i) {
    TryServe(/*poll=*/true);
    if (request.in_flight()) std::this_thread::yield();
  }
  const bool blocks = request.in_flight();
  if (blocks) blocked_.fetch_add(1);
  const bool last = waiting_.fetch_sub(1) == 1;
  if (last && blocked_.load() > 0) queue_.Rouse();
  absl::Status status = request.Wait();
  if (blocks) blocked_.fetch_sub(1);
  return status;
}

void PolledTransport::SendNote(int to, std::string_view note) {
  CHECK_LE(note.size(), kNoteBytes);
  if (to == rank()) return HearNote(to, note);
  queue_.PushNote(to, note);
  TryServe(/*poll=*/false);
}

void PolledTransport::Poison(const absl::Status& status) {
  const absl::Status failure = FailureOf(rank(), status);
  if (queue_.Poison(rank(), failure, /*here=*/true)) MarkPoisoned(rank(), failure);
}

void PolledTransport::HearFailure(int origin, const absl::Status& failure) {
  if (queue_.Poison(origin, failure, /*here=*/false)) MarkPoisoned(origin, failure);
}

absl::Status PolledTransport::Close() {
  queue_.Close();
  if (thread_.joinable()) thread_.join();
  return status();
}

// The library is taken once, not once a poll: the two atomic exchanges cost about as much as a
// poll.
void PolledTransport::PollEagerly(const Request& request) {
  if (serving_.exchange(true)) return;
  polling_.store(true, std::memory_order_relaxed);
  for (int i = 0; i < kEagerPolls && request.in_flight(); ++i) {
    if (queue_.news()) StartSubmitted();
    Poll();
  }
  polling_.store(false, std::memory_order_relaxed);
  Release();
}

void PolledTransport::Release() {
  in_flight_.store(in_flight(), std::memory_order_relaxed);
  serving_.store(false);
  if (queue_.news()) TryServe(/*poll=*/false);
}

bool PolledTransport::OthersPoll() const {
  return polling_.load(std::memory_order_relaxed) || waiting_.load() > 0;
}

bool PolledTransport::TryServe(bool poll) {
  bool progress = false;
  do {
    if (serving_.exchange(true)) return progress;  // that thread looks for news when it is done
    if (queue_.news()) progress |= StartSubmitted();
    if (poll) progress |= Poll();
    in_flight_.store(in_flight(), std::memory_order_relaxed);
    serving_.store(false);
  } while (queue_.news());
  return progress;
}

bool PolledTransport::StartSubmitted() {
  ServiceQueue::Work work = queue_.Take();
  closing_ = work.closing;
  if (failure_.ok() && !work.poison.ok()) {
    failure_ = work.poison;
    failed_rank_ = work.origin;
    failed_at_ = Clock::now();
    if (work.tell_poison) TellFailure();
    while (Request* request = self_.Take()) Finish(request, failure_);
    FailAll();
  }
  for (const ServiceQueue::Note& note : work.notes) StartNote(note.to, note.text);
  const bool any = !work.requests.empty();
  while (Request* request = work.requests.Pop()) {
    if (failure_.ok()) {
      StartOne(request);
    } else {
      Finish(request, failure_);
    }
  }
  return any;
}

void PolledTransport::StartSelf(Request* request) {
  Request* const other = self_.Match(request);
  if (other == nullptr) return;
  const int64_t sent = (request->wire.is_send ? request : other)->wire.bytes;
  const int64_t expected = (request->wire.is_send ? other : request)->wire.bytes;
  const absl::Status status = sent == expected
                                  ? absl::OkStatus()
                                  : SizeMismatch(rank(), rank(), request->wire.tag, sent, expected);
  Finish(other, status);
  Finish(request, status);
}

void PolledTransport::Serve() {
  prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);  // naps are shorter than the usual slack of 50 us
  int failed_polls = 0;
  for (;;) {
    const uint64_t seen = queue_.changes();
    failed_polls = TryServe(/*poll=*/!OthersPoll()) ? 0 : failed_polls + 1;
    if (!serving_.exchange(true)) {
      AbortWhenOverdue();
      if (closing_ && in_flight() == 0) break;  // keeps serving_: it alone uses the library now
      serving_.store(false);
    }
    if (queue_.news()) {
      std::this_thread::yield();  // to the thread that looks after them
    } else if (failed_polls > 0) {
      Rest(failed_polls, seen);
    }
  }
  Leave();
  Finalize();
}

void PolledTransport::Leave() {
  StartMeeting(failure_.ok() ? size() : failed_rank_);
  Agreement agreement;
  PollUntil([&] { return Met(&agreement); });
  if (!agreement.failure.ok()) Agree(agreement.failed_rank, agreement.failure);
  StartParting();
  PollUntil([&] { return Parted(); });
}

void PolledTransport::PollUntil(const std::function<bool()>& reached) {
  for (int polls = 0; !reached(); ++polls) {
    if (queue_.news()) StartSubmitted();
    Poll();
    AbortWhenOverdue();
    std::this_thread::sleep_for(polls < kBusyPolls ? kShortNap : kLongNap);
  }
}

void PolledTransport::Rest(int failed_polls, uint64_t seen) {
  if (OthersPoll()) {
    queue_.Doze(kDoze);  // ends early when the last of them stops while another needs polls
  } else if (failed_polls < kBusyPolls) {
    std::this_thread::yield();
  } else if (in_flight_.load(std::memory_order_relaxed) == 0 &&
             failed_polls > kBusyPolls + kIdleNaps) {
    queue_.Sleep(seen, kIdleSleep);
  } else {
    std::this_thread::sleep_for(failed_polls < kBusyPolls + kShortNaps ? kShortNap : kLongNap);
  }
}

void PolledTransport::AbortWhenOverdue() {
  if (failure_.ok()) return;
  // Rank 0 first: it is the one that speaks of the failure, if it still can.
  const auto patience = rank() == 0 ? abort_after_ : abort_after_ + abort_after_ / 10;
  if (Clock::now() - failed_at_ < patience) return;
  Agree(failed_rank_, failure_);
  LOG(ERROR) << "rank " << rank() << ": aborting all ranks, for some did not end within "
             << abort_after_.count() << " ms of the failure: " << failure_;
  Abort();
}

}  // namespace weft
