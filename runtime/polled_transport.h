// A transport over a library that takes calls from one thread at a time and moves bytes only while
// it is polled, as MPI does. Which thread that is changes: one that waits for a message polls
// itself, which saves two thread switches per message; otherwise a thread of the transport does,
// and naps. The library starts and ends on that thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

#include "runtime/self_messages.h"
#include "runtime/service_queue.h"
#include "runtime/transport.h"

namespace weft {

class PolledTransport : public Transport {
 public:
  void Send(int to, uint32_t tag, const void* data, int64_t bytes, Request* request) override;
  void Receive(int from, uint32_t tag, void* data, int64_t bytes, Request* request) override;
  absl::Status Wait(const Request& request) override;
  void SendNote(int to, std::string_view note) override;
  void Poison(const absl::Status& status) override;
  // The destructors of implementations call it too: Serve uses them until it returns.
  absl::Status Close() override;

  // Serves until Close, leaves the network and ends the library; the body of the transport's
  // thread.
  void Serve();
  // That thread, which Close joins.
  void set_thread(std::thread thread) { thread_ = std::move(thread); }

 protected:
  // After a failure the ranks have `abort_after` to come to Close.
  PolledTransport(int rank, int size, std::chrono::milliseconds abort_after);

  // The library. Called by one thread at a time; a call sees what earlier ones did.
  // Starts a message between this rank and another; Poll finishes the request.
  virtual void Start(Request* request) = 0;
  // Moves bytes and finishes what is complete, with failure() once that is set; whether any was.
  virtual bool Poll() = 0;
  // Messages in flight.
  virtual int64_t in_flight() const = 0;
  // Sends failure() to all other ranks, where Poll hands it to HearFailure.
  virtual void TellFailure() = 0;
  // Starts a note to another rank, where Poll hands it to HearNote.
  virtual void StartNote(int to, std::string_view note) = 0;
  // Makes all that is in flight end with failure(), by later Polls: a request is done only when its
  // buffer is not in use any more. From here on Poll also takes, and forgets, what other ranks send
  // to this one, so that their requests end as well.
  virtual void FailAll() = 0;
  // Begins to meet all ranks, each of which names the rank whose failure it knows, or size().
  virtual void StartMeeting(int failed_rank) = 0;
  // Whether all have come and know the lowest of those ranks, and its failure() (OK if none).
  struct Agreement {
    int failed_rank = 0;
    absl::Status failure;
  };
  virtual bool Met(Agreement* agreement) = 0;
  // Begins to part; and whether all have begun.
  virtual void StartParting() = 0;
  virtual bool Parted() = 0;
  // Ends the library; the last call.
  virtual void Finalize() = 0;
  // Ends all processes.
  virtual void Abort() = 0;

  // For Poll: rank `origin` has failed.
  void HearFailure(int origin, const absl::Status& failure);
  // The failure, from the moment on at which nothing more may start.
  const absl::Status& failure() const { return failure_; }

 private:
  void Submit(Request* request);
  // Starts the request here and now if the thread may; false if it must be queued.
  bool StartAtOnce(Request* request);
  void StartOne(Request* request);
  // Uses the library unless another thread does; whether anything moved.
  bool TryServe(bool poll);
  // Polls a few times for `request` in one go, unless another thread uses the library.
  void PollEagerly(const Request& request);
  // Hands the library back, and looks after what came while it was held.
  void Release();
  bool OthersPoll() const;
  bool StartSubmitted();
  void StartSelf(Request* request);
  void Rest(int failed_polls, uint64_t seen);
  // Meets all ranks, agrees with them on the failure, and parts.
  void Leave();
  // Polls until `reached` or the deadline after a failure.
  void PollUntil(const std::function<bool()>& reached);
  void AbortWhenOverdue();

  const std::chrono::milliseconds abort_after_;
  std::thread thread_;
  ServiceQueue queue_;
  std::atomic<bool> serving_{false};   // held by the one thread that uses the library
  std::atomic<bool> polling_{false};   // the thread that holds serving_ polls in Wait
  std::atomic<int> waiting_{0};        // threads that poll in Wait and yield in between
  std::atomic<int> blocked_{0};        // threads in Wait that leave polling to others
  std::atomic<int64_t> in_flight_{0};  // in_flight() after the last service

  // Guarded by serving_.
  SelfMessages self_;
  absl::Status failure_;
  int failed_rank_ = -1;
  std::chrono::steady_clock::time_point failed_at_;
  bool closing_ = false;
};

}  // namespace weft
