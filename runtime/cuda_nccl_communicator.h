// NcclCommunicator: the collectives of one group of GPU ranks.
#pragma once

#include <string_view>
#include <vector>

#include "runtime/arena.h"
#include "runtime/communicator.h"
#include "runtime/cuda_nccl_group.h"
#include "runtime/device.h"

namespace weft {

// Calls enqueue on the native stream and return. Sums, and the largest of integers, are NCCL's own;
// the largest of floats (which hands NaN on) and logaddexp gather all contributions and combine
// them in rank order. NCCL adds bf16 and f16 in steps from rank to rank, with a rounding at each:
// of two ranks' values as of one step, of more with an error that grows with their number. That
// order is the same in every run and its result on every rank.
class NcclCommunicator final : public Communicator {
 public:
  // `group`, of these ranks, and `device` outlive it.
  NcclCommunicator(std::vector<int> world_ranks, int rank, NcclGroup& group, Device& device)
      : Communicator(std::move(world_ranks), rank), group_(group), device_(device) {}

  absl::Status Reserve(int64_t count, DType dtype, Monoid monoid) override;
  absl::Status AllReduce(const void* in, void* out, int64_t count, DType dtype,
                         Monoid monoid) override;
  absl::Status ReduceScatter(const void* in, void* out, absl::Span<const int64_t> counts,
                             DType dtype, Monoid monoid) override;
  absl::Status AllGather(const void* in, void* out, absl::Span<const int64_t> counts,
                         DType dtype) override;
  absl::Status AllToAll(const void* in, Parts send, void* out, Parts receive, DType dtype) override;
  absl::Status Broadcast(void* data, int64_t count, DType dtype, int root) override;

 private:
  absl::Status CheckCounts(absl::Span<const int64_t> counts) const;
  // Device memory that nothing enqueued before uses any more once the stream gets there. What it
  // outgrows stays: to free it would wait for the device, where kernels may wait for other ranks.
  absl::StatusOr<std::byte*> Scratch(int64_t bytes);

  NcclGroup& group_;
  Device& device_;
  std::vector<Arena> scratch_;  // the last is the largest
};

}  // namespace weft
