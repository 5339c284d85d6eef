// Communicator: the collectives of one group of ranks, whatever moves the bytes. Actors of kind
// collective hold one; CPU ranks have it over a Transport, GPU ranks over NCCL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "runtime/dtype.h"
#include "runtime/monoid.h"

namespace weft {

// Collectives over an ordered list of world ranks. "Rank r" below is position r in that list. All
// members call the same collectives with matching arguments in the same order; the plan's order
// lists see to that. Counts and offsets are in elements; all may differ between ranks and be 0.
//
// Threads: calls come from one thread at a time, the worker of the stream to which the communicator
// belongs; implementations for an asynchronous device enqueue on that stream instead of blocking.
// Errors: bad arguments answer InvalidArgument before a byte moves; any other failure poisons the
// transport and comes back naming the collective. Buffers belong to the caller.
//
// A reduction gives the same bits on every rank and in every run.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  // This rank's position in the group, and the group's size.
  int rank() const { return rank_; }
  int size() const { return static_cast<int>(world_ranks_.size()); }
  absl::Span<const int> world_ranks() const { return world_ranks_; }
  // Payload bytes that this rank has sent to others so far. The thread of the calls.
  int64_t bytes_sent() const { return bytes_sent_; }

  // Memory for the reductions called from here on, until it is replaced; it belongs to the caller.
  // A reduction that needs more than is lent (collective_bytes.h says what it needs) allocates its
  // own.
  void LendWorkspace(absl::Span<std::byte> workspace) { lent_ = workspace; }
  // The native stream of calls from here on; nullptr where calls block.
  void RunOn(void* native_stream) { native_stream_ = native_stream; }
  // Gets ready whatever an AllReduce of this size needs, so that none allocates while steps run,
  // and none meets the others for the first time then. All members call it with the same arguments,
  // in one order among their collectives and where they are members of several communicators; it
  // may block until they have. Without it an AllReduce works as well, perhaps not as fast.
  virtual absl::Status Reserve(int64_t count, DType dtype, Monoid monoid) {
    (void)count, (void)dtype, (void)monoid;
    return absl::OkStatus();
  }

  // out = m over ranks of in, `count` elements. out == in is allowed.
  virtual absl::Status AllReduce(const void* in, void* out, int64_t count, DType dtype,
                                 Monoid monoid) = 0;
  // `in` holds one block per rank, counts[r] elements for rank r, one after the other; out = m over
  // ranks of this rank's block. out may be this rank's block of in.
  virtual absl::Status ReduceScatter(const void* in, void* out, absl::Span<const int64_t> counts,
                                     DType dtype, Monoid monoid) = 0;
  // The inverse placement: out gets the blocks of all ranks one after the other, counts[r] elements
  // from rank r. in may be this rank's block of out.
  virtual absl::Status AllGather(const void* in, void* out, absl::Span<const int64_t> counts,
                                 DType dtype) = 0;
  // Sends in[send_offsets[r] .. + send_counts[r]) to rank r, and receives from it at
  // out[receive_offsets[r] ..). `in` and `out` must not overlap.
  struct Parts {
    absl::Span<const int64_t> counts;
    absl::Span<const int64_t> offsets;
  };
  virtual absl::Status AllToAll(const void* in, Parts send, void* out, Parts receive,
                                DType dtype) = 0;
  // data of rank `root` is copied to data of every other rank.
  virtual absl::Status Broadcast(void* data, int64_t count, DType dtype, int root) = 0;

 protected:
  Communicator(std::vector<int> world_ranks, int rank)
      : world_ranks_(std::move(world_ranks)), rank_(rank) {}
  void CountSent(int64_t bytes) { bytes_sent_ += bytes; }
  absl::Span<std::byte> lent() const { return lent_; }
  void* native_stream() const { return native_stream_; }

 private:
  const std::vector<int> world_ranks_;
  const int rank_;
  int64_t bytes_sent_ = 0;
  absl::Span<std::byte> lent_;
  void* native_stream_ = nullptr;
};

}  // namespace weft
