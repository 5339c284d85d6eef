// NcclGroup: one NCCL communicator, watched: once the network is poisoned or NCCL itself reports an
// error, it is aborted, so that nothing on the device waits for ever.
#pragma once

#include <nccl.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/cuda_monitor.h"
#include "runtime/transport.h"

namespace weft {

// OK, or "`what`: NCCL's text".
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
  // Nothing that was enqueued is under way any more.
  ~NcclGroup() override;

  // Calls `enqueue`, which makes NCCL calls; they come out as one group of NCCL's. On failure the
  // transport is poisoned. The actor thread.
  absl::Status Enqueue(std::string_view what,
                       absl::FunctionRef<ncclResult_t(ncclComm_t communicator)> enqueue);

 private:
  NcclGroup(Transport& transport, ncclComm_t communicator, int device, CudaMonitor& monitor);
  bool Poll() override;
  void Abort(const absl::Status& status);

  Transport& transport_;
  const int device_;
  CudaMonitor& monitor_;
  std::mutex mutex_;  // guards the two below: no call while it is aborted
  ncclComm_t communicator_;
  absl::Status aborted_;
  std::chrono::steady_clock::time_point looked_;  // of the monitor
};

}  // namespace weft
