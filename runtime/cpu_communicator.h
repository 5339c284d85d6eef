// Collectives between CPU ranks, written once over Transport. Reductions exchange contributions
// pairwise, so that whoever reduces a block has all of them and adds in rank order with one
// rounding (a ring would round bf16 at every hop, in an order that depends on the block);
// all-gathers of more than a few KB go around a ring. collective_bytes.h decides which way, and
// predicts bytes exactly.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/communicator.h"
#include "runtime/host_exchange.h"
#include "runtime/transport.h"

namespace weft {

// Calls block the calling thread (a CPU stream's worker) until this rank's part is done. After the
// first calls of a kind and size nothing is allocated, and no workspace at all where enough is
// lent.
class CpuCommunicator final : public Communicator {
 public:
  // A communicator of `world_ranks`, which are distinct ranks of `transport`, this one among them.
  // All its messages carry `tag`, which nothing else between these ranks uses. `transport` outlives
  // it. InvalidArgument if the ranks are not as said.
  static absl::StatusOr<std::unique_ptr<CpuCommunicator>> Create(Transport& transport,
                                                                 std::vector<int> world_ranks,
                                                                 uint32_t tag);

  // Opens memory that the members share, if their transport says that it pays, they all are on one
  // host, and an AllReduce of this size is short enough for it.
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
  CpuCommunicator(Transport& transport, std::vector<int> world_ranks, int rank, uint32_t tag);

  void Send(int to, const void* data, int64_t bytes, Request& request);
  void Receive(int from, void* data, int64_t bytes, Request& request);
  // Waits for a request; how it ended.
  const absl::Status& Join(const Request& request);
  // Waits for all requests in flight; the first failure.
  absl::Status JoinAll();
  // On failure poisons the transport, waits until no buffer is in use, and names the collective.
  absl::Status Finish(const absl::Status& status, std::string_view collective, int64_t count,
                      DType dtype);
  // Sets offsets_ to the blocks' starts; InvalidArgument if counts are not one per rank or
  // negative.
  absl::Status SetOffsets(absl::Span<const int64_t> counts);
  int64_t BlockSize(int r) const { return offsets_[r + 1] - offsets_[r]; }
  // Where among the others' contributions that of `from` lies in the workspace.
  int PlaceOf(int from) const { return from < rank() ? from : from - 1; }
  // What is lent if it is enough, else memory of its own.
  std::byte* Workspace(int64_t bytes);

  absl::Status ShareAndReduce(const void* in, void* out, int64_t count, DType dtype, Monoid monoid);
  absl::Status ExchangeAndReduce(const std::byte* in, std::byte* out, int64_t count, DType dtype,
                                 Monoid monoid);
  // Blocks by offsets_: reduces the own one to `out`, in pieces.
  absl::Status ReduceBlocks(const std::byte* in, std::byte* out, DType dtype, Monoid monoid);
  void SendPiece(const std::byte* in, int64_t piece, int64_t index, int64_t element_bytes);
  // Blocks by offsets_, the own one in place already.
  absl::Status GatherDirect(std::byte* out, int64_t element_bytes);
  absl::Status GatherRing(std::byte* out, int64_t element_bytes);
  absl::Status BroadcastTree(void* data, int64_t bytes, int root);
  absl::Status BroadcastChain(std::byte* data, int64_t bytes, int root);

  Transport& transport_;
  const uint32_t tag_;
  // Two per member, so that one piece travels while another is reduced.
  std::unique_ptr<Request[]> sends_;
  std::unique_ptr<Request[]> receives_;
  std::vector<int64_t> offsets_;      // size() + 1 block starts, in elements
  std::vector<const void*> sources_;  // by rank
  std::unique_ptr<std::byte[]> workspace_;
  int64_t workspace_bytes_ = 0;
  bool shares_ = false;  // exchange_ has been asked for
  std::unique_ptr<HostExchange> exchange_;
};

}  // namespace weft
