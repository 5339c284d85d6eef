// HostExchange: ranks that are processes of one host hand each other short contributions through
// memory that they share. A message through an MPI library costs calls and matching on both sides,
// which for 1 KB take longer than the bytes do; here it is a copy and a number
// (docs/decisions/0008).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/host_memory.h"
#include "runtime/transport.h"

namespace weft {

// Every rank has two slots, used in turn. In exchange n it puts its bytes and then the number n
// into one and reads the others' once it sees their n there. It comes to n + 1 only when it has
// read all of n, so who sees n + 1 of all others may write over its slot of n: two slots suffice.
//
// Create and Exchange belong to one thread at a time; all ranks call both in the same order.
class HostExchange {
 public:
  // Made by all `world_ranks`, distinct ranks of `transport`, this one among them; contributions
  // have up to `most_bytes`. Blocks until they have met, in a few short messages that carry `tag`.
  // nullptr, on all of them, if any rank cannot open the memory: one is on another host, or there
  // is no room. The memory's name is gone when this returns. Fails only with the transport's
  // poison. The caller owns the result; `transport` outlives it.
  static absl::StatusOr<std::unique_ptr<HostExchange>> Create(Transport& transport,
                                                              absl::Span<const int> world_ranks,
                                                              uint32_t tag, int64_t most_bytes);

  int64_t most_bytes() const { return most_bytes_; }

  // Hands `bytes` (0 to most_bytes(), on all ranks the same) of `in` to all others. Afterwards
  // sources[r], for r a position among the ranks, is what rank r gave, to be read until the next
  // call; this rank's is `in` itself. Counts the bytes in the transport. Blocks until all others
  // have come, and allocates nothing. Fails with the transport's poison, and with InvalidArgument
  // if another rank gives another number of bytes; it is of no use after either.
  absl::Status Exchange(const void* in, int64_t bytes, absl::Span<const void*> sources);

 private:
  // Before the contribution itself, on a cache line of its own.
  struct alignas(64) Slot {
    std::atomic<uint64_t> sequence;  // of the exchange to which bytes and contribution belong
    int64_t bytes;
    std::byte* data() { return reinterpret_cast<std::byte*>(this + 1); }
  };
  // At the start of the memory; tells a rank that it has opened the right one.
  struct alignas(64) Header {
    uint64_t nonce[2];
  };
  static_assert(std::atomic<uint64_t>::is_always_lock_free, "processes can share no other");

  HostExchange(Transport& transport, absl::Span<const int> world_ranks, HostMemory memory,
               int64_t most_bytes);
  static int64_t SlotBytes(int64_t most_bytes);
  static absl::StatusOr<HostMemory> Make(int size, int64_t most_bytes, Header* header);
  static absl::StatusOr<HostMemory> Find(const std::string& name, int size, int64_t most_bytes,
                                         const Header& header);
  // The slot of rank `r` in the exchange under way.
  Slot* SlotOf(int r) const;
  // Waits for the exchange's number in another rank's slot.
  absl::Status Await(const Slot& slot) const;

  Transport& transport_;
  const std::vector<int> world_ranks_;
  const int rank_;  // this one's position among them
  const HostMemory memory_;
  const int64_t most_bytes_;
  uint64_t sequence_ = 0;
};

}  // namespace weft
