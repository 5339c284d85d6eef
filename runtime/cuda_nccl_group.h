// NcclGroup: one NCCL communicator, watched: once the network is poisoned or NCCL itself reports an
// error, it is aborted, so that nothing on the device waits for ever. With NCCL_COMM_BLOCKING=0 in
// the environment communicators do not block: a call begins something and returns, and whoever
// needs its end asks how it is, again and again, with the group's mutex free in between; so an
// abort gets in wherever a peer is waited for.
#pragma once

#include <nccl.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/cuda_monitor.h"
#include "runtime/cuda_nccl_abort.h"
#include "runtime/transport.h"

namespace weft {

// What is under way has not failed.
inline bool NcclFails(ncclResult_t result) {
  return result != ncclSuccess && result != ncclInProgress;
}

// OK unless NcclFails: "`what`: NCCL's text".
absl::Status NcclStatus(ncclResult_t result, std::string_view what);

class NcclGroup final : private CudaWatched {
 public:
  // Of `ranks`, distinct ranks of `transport`, this one among them; all of them call it. They first
  // meet over the transport (messages of `tag`), so that one that has failed is heard of before
  // NCCL waits for it. `transport` and `monitor` outlive the group. Blocks.
  static absl::StatusOr<std::unique_ptr<NcclGroup>> Make(Transport& transport,
                                                         const std::vector<int>& ranks,
                                                         uint32_t tag, int device,
                                                         CudaMonitor& monitor);
  // Nothing that was enqueued is under way any more. May wait until all members have come to it,
  // which go through groups that they share in one order; with NCCL_COMM_BLOCKING=0 no longer than
  // until the network is poisoned.
  ~NcclGroup() override;

  // Calls `enqueue`, which makes NCCL calls until one NcclFails; they come out as one group of
  // NCCL's. Returns when they are on their streams. On failure the transport is poisoned, and once
  // it is, this answers its status. The actor thread.
  absl::Status Enqueue(std::string_view what,
                       absl::FunctionRef<ncclResult_t(ncclComm_t communicator)> enqueue);

 private:
  NcclGroup(Transport& transport, ncclComm_t communicator, int device, CudaMonitor& monitor);
  bool Poll() override;
  // Until NCCL has put on the streams what it was given.
  absl::Status AwaitEnqueued(std::string_view what);
  // Under the mutex.
  void Abort(const absl::Status& status);
  // Ends the communicator in good order; false if that cannot be. Of the destructor.
  bool End();

  Transport& transport_;
  const int device_;
  const bool blocks_;
  CudaMonitor& monitor_;
  std::chrono::steady_clock::time_point looked_;  // of the monitor
  std::mutex mutex_;                              // guards the three below; held during calls
  ncclComm_t communicator_;                       // nullptr once it is aborted
  absl::Status aborted_;
  std::optional<NcclAbort> abort_;
};

}  // namespace weft
