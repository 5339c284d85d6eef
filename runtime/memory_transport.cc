#include "runtime/memory_transport.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/logging.h"

namespace weft {
namespace {

uint64_t KeyOf(int from, uint32_t tag) { return (static_cast<uint64_t>(from) << 32) | tag; }

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

void MemoryTransport::Send(int to, uint32_t tag, const void* data, int64_t bytes,
                           Request* request) {
  if (Accept(/*is_send=*/true, to, tag, data, bytes, request)) network_.Post(rank(), to, request);
}

void MemoryTransport::Receive(int from, uint32_t tag, void* data, int64_t bytes, Request* request) {
  if (Accept(/*is_send=*/false, from, tag, data, bytes, request)) {
    network_.Post(from, rank(), request);
  }
}

void MemoryTransport::SendNote(int to, std::string_view note) {
  CHECK_LE(note.size(), kNoteBytes);
  network_.endpoints_[to]->HearNote(rank(), note);
}

// A network in memory takes one failure: ranks never know two.
absl::Status MemoryTransport::Close() {
  const absl::Status failure = status();
  if (!failure.ok()) Agree(failed_rank(), failure);
  return failure;
}

void MemoryTransport::Poison(const absl::Status& status) { network_.Poison(rank(), status); }

MemoryNetwork::MemoryNetwork(int size, const LinkModel& links)
    : links_(links), link_free_(static_cast<size_t>(size) * size, 0), random_(links.seed) {
  for (int rank = 0; rank < size; ++rank) {
    endpoints_.push_back(std::make_unique<MemoryTransport>(*this, rank, size));
    inboxes_.push_back(std::make_unique<Inbox>());
  }
  if (!links_.instant()) deliverer_ = std::thread([this] { DeliverLoop(); });
}

MemoryNetwork::~MemoryNetwork() {
  if (!deliverer_.joinable()) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  deliverer_.join();
}

void MemoryNetwork::Post(int from, int to, Request* request) {
  const bool is_send = request->wire.is_send;
  if (is_send && !links_.instant()) {
    request->wire.due_ns = ArrivalOf(from, to, request->wire.bytes);
  }
  Inbox& inbox = *inboxes_[to];
  Request* other = nullptr;
  absl::Status poison;
  {
    std::lock_guard<std::mutex> lock(inbox.mutex);
    poison = inbox.poison;
    if (poison.ok()) {
      Waiting& waiting = inbox.waiting[KeyOf(from, request->wire.tag)];
      other = (is_send ? waiting.receives : waiting.sends).Pop();
      if (other == nullptr) (is_send ? waiting.sends : waiting.receives).Push(request);
    }
  }
  if (!poison.ok()) {
    request->Complete(std::move(poison));
  } else if (other != nullptr) {
    is_send ? Deliver(from, to, request, other) : Deliver(from, to, other, request);
  }
}

void MemoryNetwork::Deliver(int from, int to, Request* send, Request* receive) {
  Flight flight{send->wire.due_ns, 0, send, receive, from, to};
  if (links_.instant()) {
    Copy(flight);
    return;
  }
  absl::Status poison;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    poison = poison_;
    if (poison.ok()) {
      flight.sequence = sequence_++;
      flights_.push_back(flight);
      std::push_heap(flights_.begin(), flights_.end(), [](const Flight& a, const Flight& b) {
        return std::pair(a.due_ns, a.sequence) > std::pair(b.due_ns, b.sequence);
      });
    }
  }
  if (poison.ok()) {
    wake_.notify_one();
  } else {
    send->Complete(poison);
    receive->Complete(poison);
  }
}

void MemoryNetwork::Copy(const Flight& flight) {
  const Request::Wire& source = flight.send->wire;
  const Request::Wire& target = flight.receive->wire;
  absl::Status status;
  if (source.bytes != target.bytes) {
    status = MemoryTransport::SizeMismatch(flight.from, flight.to, source.tag, source.bytes,
                                           target.bytes);
  } else if (source.bytes > 0) {
    std::memcpy(target.data, source.data, source.bytes);
  }
  endpoints_[flight.to]->Finish(flight.receive, status);
  endpoints_[flight.from]->Finish(flight.send, status);
}

void MemoryNetwork::Poison(int origin, const absl::Status& status) {
  const absl::Status failure = MemoryTransport::FailureOf(origin, status);
  std::vector<Flight> flights;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!poison_.ok()) return;
    poison_ = failure;
    flights.swap(flights_);
  }
  for (const std::unique_ptr<MemoryTransport>& endpoint : endpoints_) {
    endpoint->MarkPoisoned(origin, failure);
  }
  for (const Flight& flight : flights) {
    flight.send->Complete(failure);
    flight.receive->Complete(failure);
  }
  for (const std::unique_ptr<Inbox>& inbox : inboxes_) {
    std::vector<Request*> waiting;
    {
      std::lock_guard<std::mutex> lock(inbox->mutex);
      inbox->poison = failure;
      for (auto& [key, lists] : inbox->waiting) {
        while (Request* request = lists.sends.Pop()) waiting.push_back(request);
        while (Request* request = lists.receives.Pop()) waiting.push_back(request);
      }
    }
    for (Request* request : waiting) request->Complete(failure);
  }
}

int64_t MemoryNetwork::ArrivalOf(int from, int to, int64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  int64_t& link_free = link_free_[static_cast<size_t>(from) * size() + to];
  link_free = std::max(link_free, Now());
  if (links_.bytes_per_second > 0) {
    link_free += static_cast<int64_t>(1e9 * static_cast<double>(bytes) / links_.bytes_per_second);
  }
  int64_t arrival = link_free + links_.latency.count();
  if (links_.jitter.count() > 0) arrival += random_() % links_.jitter.count();
  return arrival;
}

void MemoryNetwork::DeliverLoop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!closing_) {
    if (flights_.empty()) {
      wake_.wait(lock);
      continue;
    }
    const int64_t wait_ns = flights_.front().due_ns - Now();
    if (wait_ns > 0) {
      wake_.wait_for(lock, std::chrono::nanoseconds(wait_ns));
      continue;
    }
    std::pop_heap(flights_.begin(), flights_.end(), [](const Flight& a, const Flight& b) {
      return std::pair(a.due_ns, a.sequence) > std::pair(b.due_ns, b.sequence);
    });
    const Flight flight = flights_.back();
    flights_.pop_back();
    lock.unlock();
    Copy(flight);
    lock.lock();
  }
}

}  // namespace weft
