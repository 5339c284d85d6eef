#include "runtime/mpi_transport.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <future>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/logging.h"
#include "runtime/status.h"

namespace weft {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kAbortCode = 3;  // the exit code of "a rank failed or was lost"
// Polls without success before the thread sleeps, and how long it sleeps then: shortly while
// messages are in flight (nothing else makes MPI progress), longer while only a failure could come.
constexpr int kBusyPolls = 100;
constexpr std::chrono::microseconds kShortSleep{20};
constexpr std::chrono::microseconds kLongSleep{200};
constexpr std::chrono::microseconds kIdleSleep{5000};

absl::Status MpiError(int code, const char* call) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return absl::InternalError(absl::StrCat(call, ": ", std::string(text, length)));
}

// Failures travel as their code and message, cut to fit.
using FailureMessage = std::array<char, 4096>;

class MpiTransport final : public Transport {
 public:
  struct World {
    int rank = 0;
    int size = 1;
    MPI_Comm data = MPI_COMM_NULL;     // what callers send
    MPI_Comm control = MPI_COMM_NULL;  // failures, and the last barrier
  };

  MpiTransport(const MpiOptions& options, const World& world)
      : Transport(world.rank, world.size), options_(options), world_(world) {}
  ~MpiTransport() override { Close().IgnoreError(); }

  // On the MPI thread, before any other call on it.
  static absl::StatusOr<World> Initialize();
  // Serves requests until Close, then finalises MPI. On the MPI thread.
  void Serve();
  void set_thread(std::thread thread) { thread_ = std::move(thread); }

  void Send(int to, uint32_t tag, const void* data, int64_t bytes, Request* request) override {
    if (Accept(/*is_send=*/true, to, tag, data, bytes, request)) Submit(request);
  }
  void Receive(int from, uint32_t tag, void* data, int64_t bytes, Request* request) override {
    if (Accept(/*is_send=*/false, from, tag, data, bytes, request)) Submit(request);
  }
  void Poison(const absl::Status& status) override;
  absl::Status Close() override;

 private:
  void Submit(Request* request);
  // Those of the MPI thread.
  bool StartSubmitted();
  void StartParts(Request* request);
  bool Poll();
  void FinishPart(size_t index, const MPI_Status& status, int error);
  void RemovePart(size_t index);
  void ReceiveFailure();
  void PostFailureReceive();
  void TellFailure();
  void FailAll();
  void Rest(int failed_polls);
  void AbortWhenOverdue();
  void Leave();

  const MpiOptions options_;
  const World world_;
  std::thread thread_;

  std::mutex mutex_;  // guards the six below
  std::condition_variable wake_;
  RequestList submitted_;
  absl::Status poison_;
  bool poisoned_here_ = false;  // so this rank tells the others
  bool closing_ = false;
  bool sleeping_ = false;
  std::atomic<bool> news_{false};  // one of the above changed since the MPI thread last looked

  // Of the MPI thread alone. Slot 0 of the first three receives failures; each other slot is one MPI
  // message, part of parts_[i].
  std::vector<MPI_Request> handles_;
  std::vector<Request*> parts_;
  std::vector<int> indices_;  // of MPI_Testsome
  std::vector<MPI_Status> statuses_;
  std::vector<MPI_Request> orphans_;  // sends whose requests have failed already
  FailureMessage incoming_;
  FailureMessage outgoing_;
  absl::Status failure_;  // poison_ as this thread has seen it
  Clock::time_point failed_at_;
};

absl::StatusOr<MpiTransport::World> MpiTransport::Initialize() {
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (initialized != 0) return absl::FailedPreconditionError("MPI was started before");
  int provided = 0;
  const int code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  if (code != MPI_SUCCESS) return MpiError(code, "MPI_Init_thread");
  if (provided < MPI_THREAD_FUNNELED) {
    MPI_Finalize();
    return absl::InternalError("this MPI library does not support threads (MPI_THREAD_FUNNELED)");
  }
  World world;
  MPI_Comm_dup(MPI_COMM_WORLD, &world.data);
  MPI_Comm_dup(MPI_COMM_WORLD, &world.control);
  MPI_Comm_set_errhandler(world.data, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(world.control, MPI_ERRORS_RETURN);
  MPI_Comm_rank(world.data, &world.rank);
  MPI_Comm_size(world.data, &world.size);
  return world;
}

void MpiTransport::Submit(Request* request) {
  absl::Status poison;
  bool wake = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    poison = poison_;
    if (poison.ok()) {
      submitted_.Push(request);
      wake = sleeping_;
      news_.store(true, std::memory_order_relaxed);
    }
  }
  if (!poison.ok()) request->Complete(std::move(poison));
  if (wake) wake_.notify_one();
}

void MpiTransport::Poison(const absl::Status& status) {
  const absl::Status failure = FailureOf(rank(), status);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!poison_.ok()) return;
    poison_ = failure;
    poisoned_here_ = true;
    news_.store(true, std::memory_order_relaxed);
  }
  wake_.notify_one();
  MarkPoisoned(failure);
}

absl::Status MpiTransport::Close() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    news_.store(true, std::memory_order_relaxed);
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  return status();
}

void MpiTransport::Serve() {
  handles_.assign(1, MPI_REQUEST_NULL);
  parts_.assign(1, nullptr);
  indices_.resize(1);
  statuses_.resize(1);
  PostFailureReceive();
  int failed_polls = 0;
  for (bool closing = false; !closing || handles_.size() > 1;) {
    bool progress = false;
    if (news_.exchange(false, std::memory_order_relaxed)) {
      progress = StartSubmitted();
      std::lock_guard<std::mutex> lock(mutex_);
      closing = closing_;
    }
    progress |= Poll();
    failed_polls = progress ? 0 : failed_polls + 1;
    if (failed_polls > 0) Rest(failed_polls);
    AbortWhenOverdue();
  }
  Leave();
}

bool MpiTransport::StartSubmitted() {
  RequestList submitted;
  absl::Status poison;
  bool tell = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    std::swap(submitted, submitted_);
    poison = poison_;
    tell = std::exchange(poisoned_here_, false);
  }
  if (failure_.ok() && !poison.ok()) {
    failure_ = poison;
    failed_at_ = Clock::now();
    if (tell) TellFailure();
    FailAll();
  }
  bool any = false;
  while (Request* request = submitted.Pop()) {
    any = true;
    if (failure_.ok()) {
      StartParts(request);
    } else {
      request->Complete(failure_);
    }
  }
  return any;
}

// A message of n whole chunks is followed by one shorter part, perhaps empty: its end is known to
// both sides, and so is a size that differs. Parts of a message follow each other in the order of
// their tag, so they must all be started before the next request is.
void MpiTransport::StartParts(Request* request) {
  Request::Wire& wire = request->wire;
  const int64_t parts = wire.bytes / options_.chunk_bytes + 1;
  wire.parts = parts;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = part * options_.chunk_bytes;
    const int length = static_cast<int>(std::min(options_.chunk_bytes, wire.bytes - begin));
    char* const data = static_cast<char*>(wire.data) + begin;
    const int tag = static_cast<int>(wire.tag);
    MPI_Request handle = MPI_REQUEST_NULL;
    const int code =
        wire.is_send ? MPI_Isend(data, length, MPI_BYTE, wire.peer, tag, world_.data, &handle)
                     : MPI_Irecv(data, length, MPI_BYTE, wire.peer, tag, world_.data, &handle);
    if (code != MPI_SUCCESS) {
      wire.error = wire.error == 0 ? code : wire.error;
      handle = MPI_REQUEST_NULL;
      if (--wire.parts == 0) Finish(request, MpiError(code, "MPI_Isend or MPI_Irecv"));
      continue;
    }
    handles_.push_back(handle);
    parts_.push_back(request);
  }
  if (statuses_.size() < handles_.size()) {
    statuses_.resize(2 * handles_.size());
    indices_.resize(2 * handles_.size());
  }
}

bool MpiTransport::Poll() {
  int completed = 0;
  const int code = MPI_Testsome(static_cast<int>(handles_.size()), handles_.data(), &completed,
                                indices_.data(), statuses_.data());
  if (completed == MPI_UNDEFINED || completed == 0) return false;
  const bool errors = code == MPI_ERR_IN_STATUS;
  for (int i = 0; i < completed; ++i) {
    const int index = indices_[i];
    if (index == 0) continue;
    FinishPart(index, statuses_[i], errors ? statuses_[i].MPI_ERROR : MPI_SUCCESS);
  }
  const bool failure_came =
      std::find(indices_.begin(), indices_.begin() + completed, 0) != indices_.begin() + completed;
  for (size_t index = handles_.size() - 1; index > 0; --index) {
    if (parts_[index] == nullptr) RemovePart(index);
  }
  if (failure_came) ReceiveFailure();
  return true;
}

void MpiTransport::FinishPart(size_t index, const MPI_Status& status, int error) {
  Request* const request = std::exchange(parts_[index], nullptr);
  Request::Wire& wire = request->wire;
  int cancelled = 0;
  MPI_Test_cancelled(&status, &cancelled);
  int count = 0;
  if (!wire.is_send && cancelled == 0) MPI_Get_count(&status, MPI_BYTE, &count);
  wire.moved += count;
  if (error != MPI_SUCCESS && wire.error == 0) wire.error = error;
  --wire.parts;
  // A short part before the last means that the sender's message ends here.
  if (!wire.is_send && wire.parts > 0 && (error != MPI_SUCCESS || count < options_.chunk_bytes)) {
    for (size_t i = 1; i < handles_.size(); ++i) {
      if (parts_[i] == request) MPI_Cancel(&handles_[i]);
    }
  }
  if (wire.parts > 0) return;
  int error_class = MPI_SUCCESS;
  if (wire.error != 0) MPI_Error_class(wire.error, &error_class);
  if (!failure_.ok()) {
    Finish(request, failure_);
  } else if (error_class != MPI_SUCCESS && error_class != MPI_ERR_TRUNCATE) {
    Finish(request, MpiError(wire.error, wire.is_send ? "send" : "receive"));
  } else if (!wire.is_send && (wire.moved != wire.bytes || error_class == MPI_ERR_TRUNCATE)) {
    Finish(request, SizeMismatch(wire.peer, rank(), wire.tag, wire.moved, wire.bytes));
  } else {
    Finish(request, absl::OkStatus());
  }
}

void MpiTransport::RemovePart(size_t index) {
  handles_[index] = handles_.back();
  parts_[index] = parts_.back();
  handles_.pop_back();
  parts_.pop_back();
}

void MpiTransport::PostFailureReceive() {
  MPI_Irecv(incoming_.data(), static_cast<int>(incoming_.size()), MPI_BYTE, MPI_ANY_SOURCE, 0,
            world_.control, &handles_[0]);
}

void MpiTransport::ReceiveFailure() {
  int32_t code = 0;
  std::memcpy(&code, incoming_.data(), sizeof(code));
  const absl::Status failure(static_cast<absl::StatusCode>(code), incoming_.data() + sizeof(code));
  PostFailureReceive();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!poison_.ok()) return;
    poison_ = failure;
    news_.store(true, std::memory_order_relaxed);  // the next round fails what is in flight
  }
  MarkPoisoned(failure);
}

void MpiTransport::TellFailure() {
  outgoing_.fill('\0');
  const int32_t code = static_cast<int32_t>(failure_.code());
  std::memcpy(outgoing_.data(), &code, sizeof(code));
  const size_t length = std::min(failure_.message().size(), outgoing_.size() - sizeof(code) - 1);
  std::memcpy(outgoing_.data() + sizeof(code), failure_.message().data(), length);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    orphans_.emplace_back();
    MPI_Isend(outgoing_.data(), static_cast<int>(outgoing_.size()), MPI_BYTE, peer, 0,
              world_.control, &orphans_.back());
  }
}

// A receive is cancelled, so that nothing writes to its buffer once its request is done. A send
// cannot be; no peer will take it any more.
void MpiTransport::FailAll() {
  for (size_t index = handles_.size() - 1; index > 0; --index) {
    Request* const request = parts_[index];
    if (!request->wire.is_send) {
      MPI_Cancel(&handles_[index]);
      continue;
    }
    orphans_.push_back(handles_[index]);
    RemovePart(index);
    if (--request->wire.parts == 0) Finish(request, failure_);
  }
}

void MpiTransport::Rest(int failed_polls) {
  const bool in_flight = handles_.size() > 1;
  if (failed_polls < kBusyPolls) {
    std::this_thread::yield();
    return;
  }
  const std::chrono::microseconds nap =
      !in_flight ? kIdleSleep : failed_polls < 4 * kBusyPolls ? kShortSleep : kLongSleep;
  std::unique_lock<std::mutex> lock(mutex_);
  sleeping_ = true;
  wake_.wait_for(lock, nap, [this] { return news_.load(std::memory_order_relaxed); });
  sleeping_ = false;
}

void MpiTransport::AbortWhenOverdue() {
  if (failure_.ok() || Clock::now() - failed_at_ < options_.abort_after) return;
  LOG(ERROR) << "rank " << rank() << ": aborting all ranks, for some did not end within "
             << options_.abort_after.count() << " ms of the failure: " << failure_;
  MPI_Abort(MPI_COMM_WORLD, kAbortCode);
}

// Meets all ranks in a barrier that still hears of failures, then finalises.
void MpiTransport::Leave() {
  MPI_Request barrier = MPI_REQUEST_NULL;
  MPI_Ibarrier(world_.control, &barrier);
  for (int met = 0, polls = 0; met == 0; ++polls) {
    if (news_.exchange(false, std::memory_order_relaxed)) StartSubmitted();
    Poll();
    MPI_Test(&barrier, &met, MPI_STATUS_IGNORE);
    if (met == 0) Rest(polls);
    AbortWhenOverdue();
  }
  MPI_Cancel(&handles_[0]);
  MPI_Wait(&handles_[0], MPI_STATUS_IGNORE);
  for (MPI_Request& orphan : orphans_) MPI_Request_free(&orphan);
  MPI_Comm_free(&const_cast<World&>(world_).data);
  MPI_Comm_free(&const_cast<World&>(world_).control);
  MPI_Finalize();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> StartMpi(const MpiOptions& options) {
  if (options.chunk_bytes < 1 || options.chunk_bytes > std::numeric_limits<int>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunks of ", options.chunk_bytes, " bytes; MPI takes 1 to 2^31 - 1"));
  }
  std::promise<absl::StatusOr<MpiTransport::World>> world;
  std::promise<MpiTransport*> made;
  std::thread thread([&world, transport = made.get_future()]() mutable {
    absl::StatusOr<MpiTransport::World> initialized = MpiTransport::Initialize();
    const bool ok = initialized.ok();
    world.set_value(std::move(initialized));
    if (ok) transport.get()->Serve();
  });
  absl::StatusOr<MpiTransport::World> initialized = world.get_future().get();
  if (!initialized.ok()) {
    thread.join();
    return initialized.status();
  }
  auto transport = std::make_unique<MpiTransport>(options, *initialized);
  made.set_value(transport.get());
  transport->set_thread(std::move(thread));
  return transport;
}

}  // namespace weft
