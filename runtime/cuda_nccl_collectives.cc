// Collectives over NCCL: groups by their ranks, and exchanges in the group of all.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/cuda_collectives.h"
#include "runtime/cuda_nccl_communicator.h"
#include "runtime/cuda_nccl_group.h"
#include "runtime/cuda_nccl_messenger.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Beside those that callers use (runtime/rendezvous.cc has the two before).
constexpr uint32_t kMessengerTag = Transport::kTagLimit + 2;

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

  std::unique_ptr<DeviceMessenger> MakeMessenger(Transport& transport) override {
    return std::make_unique<NcclMessenger>(transport, device_, [this, &transport] {
      std::vector<int> everyone(transport.size());
      std::iota(everyone.begin(), everyone.end(), 0);
      return GroupOf(transport, everyone, kMessengerTag);
    });
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
