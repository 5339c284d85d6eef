#include "runtime/transport.h"

#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/logging.h"

namespace weft {
namespace {

// Above kTagLimit: the tags of rendezvous.cc.
constexpr uint32_t kReservedTags = 16;
// Looks at a request's state before sleeping. Few: ranks outnumber cores where weft is tested.
constexpr int kSpins = 32;

}  // namespace

Request::~Request() {
  CHECK(state_.load(std::memory_order_acquire) != kPending) << "request destroyed in flight";
}

void Request::Begin() {
  CHECK(state_.load(std::memory_order_acquire) != kPending) << "request used while in flight";
  if (!status_.ok()) status_ = absl::OkStatus();
  state_.store(kPending, std::memory_order_relaxed);
}

void Request::Complete(absl::Status status) {
  const Hook hook = hook_;
  void* const context = context_;
  status_ = std::move(status);
  state_.store(kDone, std::memory_order_release);
  state_.notify_all();  // uses the address alone: the owner may have moved on
  if (hook != nullptr) hook(context);
}

const absl::Status& Request::Wait() const {
  for (int i = 0; i < kSpins && in_flight(); ++i) std::this_thread::yield();
  while (in_flight()) state_.wait(kPending, std::memory_order_acquire);
  return status_;
}

void RequestList::Push(Request* request) {
  request->wire.next = nullptr;
  (head_ == nullptr ? head_ : tail_->wire.next) = request;
  tail_ = request;
}

Request* RequestList::Pop() {
  Request* const request = head_;
  if (request != nullptr) head_ = request->wire.next;
  return request;
}

Transport::Transport(int rank, int size)
    : rank_(rank), size_(size), bytes_(std::make_unique<PeerBytes[]>(size)) {}

absl::Status Transport::status() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return status_;
}

void Transport::OnPoison(std::function<void(const absl::Status&)> hook) {
  absl::Status status;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    status = status_;
    if (status.ok()) {
      hook_ = std::move(hook);
      return;
    }
  }
  hook(status);
}

int Transport::failed_rank() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return failed_rank_;
}

void Transport::OnAgreement(std::function<void(const absl::Status&)> hook) {
  std::lock_guard<std::mutex> lock(mutex_);
  agreement_hook_ = std::move(hook);
}

void Transport::OnNote(std::function<void(int from, std::string_view note)> listener) {
  std::lock_guard<std::mutex> lock(listener_mutex_);
  listener_ = std::move(listener);
}

void Transport::HearNote(int from, std::string_view note) {
  std::lock_guard<std::mutex> lock(listener_mutex_);
  if (listener_) listener_(from, note);
}

int64_t Transport::total_bytes_sent() const {
  int64_t total = 0;
  for (int peer = 0; peer < size_; ++peer) {
    if (peer != rank_) total += bytes_sent(peer);
  }
  return total;
}

void Transport::CountBeside(int peer, int64_t sent, int64_t received) {
  bytes_[peer].sent.fetch_add(sent, std::memory_order_relaxed);
  bytes_[peer].received.fetch_add(received, std::memory_order_relaxed);
}

bool Transport::Accept(bool is_send, int peer, uint32_t tag, const void* data, int64_t bytes,
                       Request* request) {
  request->Begin();
  const char* verb = is_send ? "send to" : "receive from";
  absl::Status error;
  if (peer < 0 || peer >= size_) {
    error = absl::InvalidArgumentError(
        absl::StrCat("rank ", rank_, ": ", verb, " rank ", peer, " of ", size_));
  } else if (tag >= kTagLimit + kReservedTags) {
    error = absl::InvalidArgumentError(absl::StrCat("rank ", rank_, ": ", verb, " rank ", peer,
                                                    ": tag ", tag, " is not below ", kTagLimit));
  } else if (bytes < 0 || (bytes > 0 && data == nullptr)) {
    error = absl::InvalidArgumentError(absl::StrCat("rank ", rank_, ": ", verb, " rank ", peer,
                                                    ", tag ", tag, ": ", bytes, " bytes ",
                                                    data == nullptr ? "at a null address" : ""));
  }
  if (!error.ok()) {
    request->Complete(std::move(error));
    return false;
  }
  request->wire = {.data = const_cast<void*>(data),
                   .bytes = bytes,
                   .peer = peer,
                   .tag = tag,
                   .is_send = is_send};
  return true;
}

void Transport::Finish(Request* request, absl::Status status) {
  if (status.ok()) {
    PeerBytes& bytes = bytes_[request->wire.peer];
    (request->wire.is_send ? bytes.sent : bytes.received)
        .fetch_add(request->wire.bytes, std::memory_order_relaxed);
  }
  request->Complete(std::move(status));
}

bool Transport::MarkPoisoned(int origin, const absl::Status& status) {
  std::function<void(const absl::Status&)> hook;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!status_.ok()) return false;
    status_ = status;
    failed_rank_ = origin;
    hook = std::move(hook_);
    poisoned_.store(true, std::memory_order_release);
  }
  if (hook) hook(status);
  return true;
}

void Transport::Agree(int origin, const absl::Status& status) {
  std::function<void(const absl::Status&)> hook;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    status_ = status;
    failed_rank_ = origin;
    hook = std::exchange(agreement_hook_, nullptr);
    poisoned_.store(true, std::memory_order_release);
  }
  if (hook) hook(status);
}

absl::Status Transport::FailureOf(int origin, const absl::Status& status) {
  CHECK(!status.ok()) << "poisoned without a failure";
  return absl::Status(status.code(), absl::StrCat("rank ", origin, " failed: ", status.message()));
}

absl::Status Transport::SizeMismatch(int from, int to, uint32_t tag, int64_t sent,
                                     int64_t expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("message from rank ", from, " to rank ", to, ", tag ", tag, ": ", sent,
                   " bytes were sent, the receive expects ", expected));
}

}  // namespace weft
