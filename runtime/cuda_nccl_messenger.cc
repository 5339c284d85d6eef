#include "runtime/cuda_nccl_messenger.h"

#include <cuda_runtime.h>

#include <chrono>
#include <set>
#include <thread>
#include <utility>

#include "runtime/arena.h"
#include "runtime/cuda_status.h"
#include "runtime/rendezvous.h"
#include "runtime/status.h"

namespace weft {
namespace {

ncclResult_t Send(const void* data, int64_t bytes, int peer, ncclComm_t communicator,
                  cudaStream_t stream) {
  return ncclSend(data, bytes, ncclUint8, peer, communicator, stream);
}
ncclResult_t Receive(void* data, int64_t bytes, int peer, ncclComm_t communicator,
                     cudaStream_t stream) {
  return ncclRecv(data, bytes, ncclUint8, peer, communicator, stream);
}

// The first message to and from each peer. NCCL connects two ranks there, which waits for both.
// What it needs is all there before the ranks meet: one that lacks memory says so while the others
// can still hear it, none of them waiting on its device.
struct FirstMessages {
  ~FirstMessages() {
    if (stream == nullptr) return;
    (void)cudaStreamSynchronize(stream);  // after an abort too, the device comes to an end
    (void)cudaStreamDestroy(stream);
  }
  absl::Status Prepare(Device& device, std::set<int> ranks) {
    peers = std::move(ranks);
    if (peers.empty()) return absl::OkStatus();
    WEFT_ASSIGN_OR_RETURN(words,
                          device.Allocate(2 * kBytes * static_cast<int64_t>(peers.size())));
    return CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                      "cudaStreamCreate");
  }
  ncclResult_t Enqueue(ncclComm_t communicator) const {
    std::byte* at = words.data();
    for (int peer : peers) {
      ncclResult_t result = Send(at, kBytes, peer, communicator, stream);
      if (!NcclFails(result)) result = Receive(at + kBytes, kBytes, peer, communicator, stream);
      if (NcclFails(result)) return result;
      at += 2 * kBytes;
    }
    return ncclSuccess;
  }

  static constexpr int64_t kBytes = 64;
  std::set<int> peers;
  Arena words;
  cudaStream_t stream = nullptr;
};

}  // namespace

int NcclMessenger::Add(Exchange exchange) {
  exchanges_.push_back(std::move(exchange));
  return static_cast<int>(exchanges_.size()) - 1;
}

absl::Status NcclMessenger::Connect() {
  const absl::Status status = TryConnect();
  if (!status.ok()) transport_.Poison(status);  // the others wait here, or on their devices
  return status;
}

absl::Status NcclMessenger::TryConnect() {
  WEFT_ASSIGN_OR_RETURN(group_, make_group_());
  std::set<int> peers;
  for (const Exchange& exchange : exchanges_) {
    for (const Message& message : exchange.sends) peers.insert(message.peer);
    for (const Message& message : exchange.receives) peers.insert(message.peer);
  }
  FirstMessages first;
  WEFT_RETURN_IF_ERROR(first.Prepare(device_, std::move(peers)));
  WEFT_RETURN_IF_ERROR(Barrier(transport_));
  if (first.peers.empty()) return absl::OkStatus();
  absl::Status status = group_->Enqueue(
      "first messages", [&](ncclComm_t communicator) { return first.Enqueue(communicator); });
  while (status.ok()) {
    const absl::StatusOr<bool> done = CudaStreamDone(first.stream, "the first messages");
    if (done.ok() && *done) return transport_.status();
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    status = done.ok() ? transport_.status() : done.status();  // poison: the group is aborted
  }
  return status;
}

absl::Status NcclMessenger::Run(int exchange, int64_t firing, void* native_stream) {
  const auto stream = static_cast<cudaStream_t>(native_stream);
  return group_->Enqueue("exchange", [&](ncclComm_t communicator) {
    ncclResult_t result = ncclSuccess;
    for (const Message& m : exchanges_[exchange].sends) {
      if (NcclFails(result)) break;
      result = Send(m.at[firing % m.at.size()], m.bytes, m.peer, communicator, stream);
    }
    for (const Message& m : exchanges_[exchange].receives) {
      if (NcclFails(result)) break;
      result = Receive(m.at[firing % m.at.size()], m.bytes, m.peer, communicator, stream);
    }
    return result;
  });
}

}  // namespace weft
