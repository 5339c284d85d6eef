// Transport: how ranks exchange bytes. Channels between ranks, collectives on CPU, plan broadcast
// and the spread of the first failure all stand on it, so that each is written and tested once and
// runs over memory (ranks as threads of one process) as over MPI.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>

#include "absl/status/status.h"

namespace weft {

// One send or receive in flight. The caller owns it and keeps it, and the buffer it names, until it
// is done; then it may be used again. Nothing is allocated per message.
class Request {
 public:
  // Runs once when the request is done, on whichever thread finished it: a transport's thread, a
  // peer's, or the caller's own inside Send or Receive. Must not block. The request may be gone or
  // in use again when it runs.
  using Hook = void (*)(void* context);

  Request() = default;
  ~Request();  // CHECKs that it is not in flight
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  // Sets the hook of this and later uses; not while in flight.
  void set_hook(Hook hook, void* context) {
    hook_ = hook;
    context_ = context;
  }
  // Any thread. Once true, data and status() are visible to the asking thread.
  bool done() const { return state_.load(std::memory_order_acquire) == kDone; }
  // Whether a transport holds it. Any thread.
  bool in_flight() const { return state_.load(std::memory_order_acquire) == kPending; }
  // How it ended; only once done (OK before the first use).
  const absl::Status& status() const { return status_; }
  // Blocks while in flight (spins for a moment, then sleeps) and answers status(). Any thread.
  const absl::Status& Wait() const;

  // What the transport notes here while the request is in flight; of no meaning to others.
  struct Wire {
    void* data = nullptr;
    int64_t bytes = 0;
    int peer = 0;
    uint32_t tag = 0;
    bool is_send = false;
    int64_t due_ns = 0;       // earliest delivery, where a link is simulated
    int64_t parts = 0;        // messages still missing, where one request takes several,
    int64_t moved = 0;        // the bytes of those that came,
    int error = 0;            // and the first error code among them
    Request* next = nullptr;  // intrusive list
  };
  Wire wire;
  // For transports: marks the request in flight, and done. Begin CHECKs that it was not in flight.
  void Begin();
  void Complete(absl::Status status);

 private:
  enum State : int { kIdle, kPending, kDone };
  std::atomic<int> state_{kIdle};
  absl::Status status_;
  Hook hook_ = nullptr;
  void* context_ = nullptr;
};

// First-in first-out list of requests, threaded through them. Not synchronised.
class RequestList {
 public:
  bool empty() const { return head_ == nullptr; }
  void Push(Request* request);
  // The oldest, or nullptr.
  Request* Pop();

 private:
  Request* head_ = nullptr;
  Request* tail_ = nullptr;
};

// One rank's end of the network. All functions may be called from any thread.
//
// Messages of one (sender, receiver, tag) match receives in the order in which both were posted;
// completions of different requests may come in any order. A message whose size differs from its
// receive's fails (InvalidArgument naming both ranks, the tag and both sizes).
//
// The first Poison on any rank ends the network: on every rank all pending and later requests
// complete with its status. A buffer is in use until its request is done, after a failure too.
// Where ranks are processes that fail at the same time, a rank may know another failure than the
// next one, until all come out of Close with one: that of the lowest rank among them.
class Transport {
 public:
  // Tags of callers are below this (MPI guarantees few bits); those above are the transport's own.
  static constexpr uint32_t kTagLimit = 1u << 22;

  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Start a transfer of `bytes` (0 and above 2^31 too) and return; a rank may send to itself.
  // Errors, those of arguments included, come out of the request.
  virtual void Send(int to, uint32_t tag, const void* data, int64_t bytes, Request* request) = 0;
  virtual void Receive(int from, uint32_t tag, void* data, int64_t bytes, Request* request) = 0;

  // Blocks until `request`, which is this transport's, is done, and answers how it ended. Prefer it
  // to request.Wait(): the waiting thread may serve the network meanwhile.
  virtual absl::Status Wait(const Request& request) { return request.Wait(); }

  // Ends the network because this rank failed with `status` (not OK). Returns at once; repeated
  // calls are ignored. Every rank's status() becomes "rank N failed: ..." with the same code.
  virtual void Poison(const absl::Status& status) = 0;
  // Leaves the network once every rank does: the last call on a transport, with no request in
  // flight. Answers status(), the same on all ranks. Where ranks are processes and one stays away
  // past the deadline, all are aborted.
  virtual absl::Status Close() = 0;

  // Bytes of the longest note.
  static constexpr size_t kNoteBytes = 4000;
  // Sends a note to the listener of rank `to`, beside all messages: nobody posts a receive, no
  // bytes are counted, and poison does not stop it. For what ranks tell each other when messages do
  // not move. Returns at once; `to` may be this rank. The note is dropped if that rank does not
  // listen or is lost; CHECKs that it is not too long.
  virtual void SendNote(int to, std::string_view note) = 0;
  // Calls `listener` with each note that comes, one at a time, on any thread. It must neither block
  // nor send. An empty one ends that; then no call is under way any more.
  void OnNote(std::function<void(int from, std::string_view note)> listener);

  // OK, or the failure that poisoned the network.
  absl::Status status() const;
  // Whether status() is a failure, for who must ask often.
  bool poisoned() const { return poisoned_.load(std::memory_order_acquire); }
  // The rank where that failure began; -1 if there is none.
  int failed_rank() const;
  // Calls `hook` once when the network is poisoned, here or elsewhere (at once if it is already),
  // on any thread. It must not block.
  void OnPoison(std::function<void(const absl::Status&)> hook);
  // Calls `hook` once with the failure that all ranks come out with, before any of them has left;
  // or with status() before they are aborted. On any thread; not after Close. It must not block.
  void OnAgreement(std::function<void(const absl::Status&)> hook);

  // Whether ranks that share a host had better exchange what is short through memory that they
  // share (runtime/host_exchange.h): where a message between them costs more than that does, and
  // nobody looks at each message.
  virtual bool SharesMemory() const { return false; }

  // Payload bytes of completed sends to, and receives from, `peer` so far, and of what CountBeside
  // was told.
  int64_t bytes_sent(int peer) const { return bytes_[peer].sent.load(std::memory_order_relaxed); }
  int64_t bytes_received(int peer) const {
    return bytes_[peer].received.load(std::memory_order_relaxed);
  }
  // Over all peers but this rank itself.
  int64_t total_bytes_sent() const;
  // Adds payload that went between this rank and `peer`, a rank, beside the messages, so that the
  // counters tell all that moved, whichever way it took.
  void CountBeside(int peer, int64_t sent, int64_t received);

 protected:
  Transport(int rank, int size);

  // Fills in request->wire and marks it in flight; on bad arguments completes it and returns false.
  bool Accept(bool is_send, int peer, uint32_t tag, const void* data, int64_t bytes,
              Request* request);
  // Counts the payload and completes the request.
  void Finish(Request* request, absl::Status status);
  // Records the failure of `origin` and runs the hook; false if one was recorded before.
  bool MarkPoisoned(int origin, const absl::Status& status);
  // Records the failure that all ranks agree on, in place of any other, and runs the hook, once.
  void Agree(int origin, const absl::Status& status);
  // Hands a note to the listener, if there is one.
  void HearNote(int from, std::string_view note);
  // `status` as every rank is told it.
  static absl::Status FailureOf(int origin, const absl::Status& status);
  static absl::Status SizeMismatch(int from, int to, uint32_t tag, int64_t sent, int64_t expected);

 private:
  struct PeerBytes {
    std::atomic<int64_t> sent{0};
    std::atomic<int64_t> received{0};
  };
  const int rank_;
  const int size_;
  std::unique_ptr<PeerBytes[]> bytes_;
  std::atomic<bool> poisoned_{false};
  mutable std::mutex mutex_;  // guards the four below
  absl::Status status_;
  int failed_rank_ = -1;
  std::function<void(const absl::Status&)> hook_;
  std::function<void(const absl::Status&)> agreement_hook_;
  std::mutex listener_mutex_;  // held while it is called
  std::function<void(int from, std::string_view note)> listener_;
};

}  // namespace weft
