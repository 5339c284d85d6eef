// Ranks as threads of one process: `--ranks N`, tests and debugging. A message is one copy from the
// sender's buffer to the receiver's, made by whichever of the two comes second. Links can be given
// a latency, a bandwidth and seeded reordering, to test schedules without a network.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "runtime/transport.h"

namespace weft {

// How long a message takes on each directed link; by default no time.
struct LinkModel {
  std::chrono::nanoseconds latency{0};
  double bytes_per_second = 0;         // 0: unlimited; messages of a link queue up
  std::chrono::nanoseconds jitter{0};  // added per message, uniform in [0, jitter): reorders tags
  uint64_t seed = 0;                   // of the jitter
  bool instant() const {
    return latency.count() == 0 && bytes_per_second == 0 && jitter.count() == 0;
  }
};

class MemoryNetwork;

// One rank's end; owned by its MemoryNetwork.
class MemoryTransport final : public Transport {
 public:
  MemoryTransport(MemoryNetwork& network, int rank, int size)
      : Transport(rank, size), network_(network) {}
  void Send(int to, uint32_t tag, const void* data, int64_t bytes, Request* request) override;
  void Receive(int from, uint32_t tag, void* data, int64_t bytes, Request* request) override;
  void SendNote(int to, std::string_view note) override;
  void Poison(const absl::Status& status) override;
  absl::Status Close() override;

 private:
  friend class MemoryNetwork;
  MemoryNetwork& network_;
};

// Owns the endpoints of `size` ranks. Outlives all requests and all threads that use them.
class MemoryNetwork {
 public:
  explicit MemoryNetwork(int size, const LinkModel& links = {});
  ~MemoryNetwork();

  int size() const { return static_cast<int>(endpoints_.size()); }
  Transport& endpoint(int rank) { return *endpoints_[rank]; }

 private:
  friend class MemoryTransport;
  // What waits for its counterpart, of one (sender, tag) at one receiver. At most one is non-empty.
  struct Waiting {
    RequestList sends;
    RequestList receives;
  };
  struct Inbox {
    std::mutex mutex;
    absl::flat_hash_map<uint64_t, Waiting> waiting;  // by sender and tag; entries stay
    absl::Status poison;
  };
  // A matched pair on its way.
  struct Flight {
    int64_t due_ns;
    uint64_t sequence;
    Request* send;
    Request* receive;
    int from;
    int to;
  };

  void Post(int from, int to, Request* request);
  void Deliver(int from, int to, Request* send, Request* receive);
  void Copy(const Flight& flight);
  void Poison(int origin, const absl::Status& status);
  int64_t ArrivalOf(int from, int to, int64_t bytes);
  void DeliverLoop();

  const LinkModel links_;
  std::vector<std::unique_ptr<MemoryTransport>> endpoints_;
  std::vector<std::unique_ptr<Inbox>> inboxes_;  // by receiver

  // Simulated links; unused when they are instant.
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  std::vector<Flight> flights_;     // heap, earliest on top
  std::vector<int64_t> link_free_;  // when a link's last byte leaves, by from * size + to
  std::mt19937_64 random_;
  uint64_t sequence_ = 0;
  bool closing_ = false;
  absl::Status poison_;
  std::thread deliverer_;
};

}  // namespace weft
