// PeerMessenger: exchanges between GPUs of one host by the copy engines, which take no
// multiprocessor from the kernels that run meanwhile. The receiver counts in the sender's memory
// the firings for which it is ready; the sender's stream waits for that, copies into the receiver's
// memory, and counts there what has arrived, for which the receiver's stream waits. The host waits
// for nothing. What is out of reach goes through another messenger, NCCL's.
#pragma once

#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/arena.h"
#include "runtime/cuda_collectives.h"
#include "runtime/cuda_monitor.h"
#include "runtime/cuda_peer_memory.h"
#include "runtime/device.h"
#include "runtime/transport.h"

namespace weft {

// WEFT_PEER_COPIES=0 in the environment of any rank sends everything through NCCL.
class PeerMessenger final : public DeviceMessenger, private CudaWatched {
 public:
  // All outlive it; `ordinal` is the device's number in this process.
  PeerMessenger(Transport& transport, Device& device, int ordinal, CudaMonitor& monitor,
                CudaCollectives& collectives);
  // Nothing that was enqueued is under way any more. After a failure waits until GPUs of this
  // process have ended what they were at, which might write to memory of this one.
  ~PeerMessenger() override;

  int Add(Exchange exchange) override;
  absl::Status Connect() override;
  absl::Status Run(int exchange, int64_t firing, void* native_stream) override;

 private:
  // Messages of an exchange to or from one peer. Counts are of firings.
  struct Copy {
    std::vector<void*> from, to;  // at firing f: at f modulo the size
    int64_t bytes = 0;
  };
  struct Sends {
    int64_t* posted = nullptr;   // here, by the peer
    void* arrived = nullptr;     // there
    std::vector<Copy> copies;
  };
  struct Receives {
    void* posted = nullptr;      // there
    int64_t* arrived = nullptr;  // here, by the peer
  };
  struct Prepared {
    std::vector<Sends> sends;
    std::vector<Receives> receives;
    int rest = -1;  // number of the other messenger's exchange
  };

  absl::Status TryConnect();
  // World ranks with which exchanges of this rank exchange something.
  std::vector<int> Peers() const;
  // What peer number `peer` is told.
  absl::StatusOr<PeerTable> TableFor(const std::vector<int>& peers, size_t peer);
  // Whether each peer's memory can be reached and it reaches this rank's; why not is logged.
  absl::StatusOr<std::vector<bool>> Reach(const std::vector<int>& peers,
                                          const std::vector<PeerTable>& mine,
                                          const std::vector<PeerTable>& theirs);
  // Whether any rank of the transport says so.
  absl::StatusOr<bool> AnyRank(bool here);
  absl::Status Prepare(int peer, const PeerTable& mine, const PeerTable& theirs);
  bool Poll() override;
  // Lets whatever waits for a count go on.
  void Release();

  Transport& transport_;
  Device& device_;
  const int ordinal_;
  CudaMonitor& monitor_;
  CudaCollectives& collectives_;
  std::vector<Exchange> exchanges_;
  std::vector<Prepared> prepared_;          // by exchange
  Arena counts_;                            // what peers write, two a peer and exchange
  std::map<int, CudaPeerImports> imports_;  // by peer in reach
  std::vector<int> neighbours_;             // ordinals of peers in this process
  std::unique_ptr<DeviceMessenger> rest_;
  cudaStream_t release_ = nullptr;  // of the monitor
};

}  // namespace weft
