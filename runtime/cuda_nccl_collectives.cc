// Collectives over NCCL: groups by their ranks, and messages in the group of all.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/cuda_collectives.h"
#include "runtime/cuda_nccl_communicator.h"
#include "runtime/cuda_nccl_group.h"
#include "runtime/cuda_status.h"
#include "runtime/rendezvous.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Beside those that callers use (runtime/rendezvous.cc has the two before).
constexpr uint32_t kMessengerTag = Transport::kTagLimit + 2;

class NcclMessenger final : public DeviceMessenger {
 public:
  explicit NcclMessenger(NcclGroup& group) : group_(group) {}

  absl::Status Exchange(absl::Span<const Message> sends, absl::Span<const Message> receives,
                        void* native_stream) override {
    const auto stream = static_cast<cudaStream_t>(native_stream);
    return group_.Enqueue("exchange", [&](ncclComm_t communicator) {
      ncclResult_t result = ncclSuccess;
      for (const Message& m : sends) {
        if (NcclFails(result)) break;
        result = ncclSend(m.data, m.bytes, ncclUint8, m.peer, communicator, stream);
      }
      for (const Message& m : receives) {
        if (NcclFails(result)) break;
        result = ncclRecv(m.data, m.bytes, ncclUint8, m.peer, communicator, stream);
      }
      return result;
    });
  }

 private:
  NcclGroup& group_;
};

// What the first messages between ranks need. It is all there before the ranks meet: one that
// lacks memory says so while the others can still hear it, none of them waiting on its device.
struct FirstMessages {
  ~FirstMessages() {
    if (stream == nullptr) return;
    (void)cudaStreamSynchronize(stream);  // after an abort too, the device comes to an end
    (void)cudaStreamDestroy(stream);
  }
  absl::Status Prepare(Device& device, absl::Span<const int> peers) {
    if (peers.empty()) return absl::OkStatus();
    constexpr int64_t kBytes = 64;
    const int64_t peer_bytes = kBytes * static_cast<int64_t>(peers.size());
    WEFT_ASSIGN_OR_RETURN(words, device.Allocate(2 * peer_bytes));
    std::byte* at = words.data();
    for (int peer : peers) {
      sends.push_back({peer, at, kBytes});
      receives.push_back({peer, at + peer_bytes, kBytes});
      at += kBytes;
    }
    return CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                      "cudaStreamCreate");
  }

  Arena words;
  std::vector<DeviceMessenger::Message> sends, receives;
  cudaStream_t stream = nullptr;
};

class NcclCollectives final : public CudaCollectives {
 public:
  NcclCollectives(Device& device, int ordinal, CudaMonitor& monitor)
      : device_(device), ordinal_(ordinal), monitor_(monitor) {}

  absl::StatusOr<std::unique_ptr<Communicator>> MakeCommunicator(Transport& transport,
                                                                 std::vector<int> ranks,
                                                                 uint32_t tag) override {
    const auto place = std::find(ranks.begin(), ranks.end(), transport.rank());
    const bool distinct = std::set<int>(ranks.begin(), ranks.end()).size() == ranks.size();
    const bool known = std::all_of(ranks.begin(), ranks.end(),
                                   [&](int r) { return r >= 0 && r < transport.size(); });
    if (place == ranks.end() || !distinct || !known || tag >= Transport::kTagLimit) {
      return absl::InvalidArgumentError(absl::StrCat("a communicator of ranks ",
                                                     absl::StrJoin(ranks, ","), " on rank ",
                                                     transport.rank(), " of ", transport.size()));
    }
    const int rank = static_cast<int>(place - ranks.begin());
    WEFT_ASSIGN_OR_RETURN(NcclGroup* const group, GroupOf(transport, ranks, tag));
    return std::make_unique<NcclCommunicator>(std::move(ranks), rank, *group, device_);
  }

  absl::StatusOr<std::unique_ptr<DeviceMessenger>> MakeMessenger(
      Transport& transport, absl::Span<const int> peers) override {
    std::vector<int> everyone(transport.size());
    std::iota(everyone.begin(), everyone.end(), 0);
    WEFT_ASSIGN_OR_RETURN(NcclGroup* const group, GroupOf(transport, everyone, kMessengerTag));
    auto messenger = std::make_unique<NcclMessenger>(*group);
    const absl::Status status = Annotate(Connect(transport, *messenger, peers), "connecting GPUs");
    if (status.ok()) return messenger;
    transport.Poison(status);  // the others wait here, or on their devices
    return status;
  }

 private:
  absl::StatusOr<NcclGroup*> GroupOf(Transport& transport, const std::vector<int>& ranks,
                                     uint32_t tag) {
    std::unique_ptr<NcclGroup>& group = groups_[{&transport, ranks}];
    if (group == nullptr) {
      WEFT_ASSIGN_OR_RETURN(group, NcclGroup::Make(transport, ranks, tag, ordinal_, monitor_));
    }
    return group.get();
  }

  // NCCL connects two ranks at their first message, which waits for both; so let that be now.
  absl::Status Connect(Transport& transport, NcclMessenger& messenger,
                       absl::Span<const int> peers) {
    FirstMessages first;
    WEFT_RETURN_IF_ERROR(first.Prepare(device_, peers));
    WEFT_RETURN_IF_ERROR(Barrier(transport));
    if (peers.empty()) return absl::OkStatus();
    absl::Status status = messenger.Exchange(first.sends, first.receives, first.stream);
    while (status.ok()) {
      const absl::StatusOr<bool> done = CudaStreamDone(first.stream, "the first messages");
      if (done.ok() && *done) return transport.status();
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      status = done.ok() ? transport.status() : done.status();  // poison: the group is aborted
    }
    return status;
  }

  Device& device_;
  const int ordinal_;
  CudaMonitor& monitor_;
  std::map<std::pair<const Transport*, std::vector<int>>, std::unique_ptr<NcclGroup>> groups_;
};

}  // namespace

std::unique_ptr<CudaCollectives> MakeCudaCollectives(Device& device, int ordinal,
                                                     CudaMonitor& monitor) {
  return std::make_unique<NcclCollectives>(device, ordinal, monitor);
}

void SetNcclDefaults() {
  static std::once_flag once;
  std::call_once(once, [] {
    // NVLink multicast: where a program dies in the midst of it, GPUs that others share may be out
    // of service.
    setenv("NCCL_NVLS_ENABLE", "0", /*replace=*/0);
    // All connections when a communicator is made: no later call waits for a peer.
    setenv("NCCL_RUNTIME_CONNECT", "0", /*replace=*/0);
  });
}

std::string NcclVersion() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "it does not start";
  return absl::StrCat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace weft
