// Which way CPU collectives go, and so how many payload bytes each rank sends. The planner prices
// and predicts with these; CpuCommunicator decides with them; a test holds the transport's counters
// equal. Ranks are positions in the group, counts are in elements.
#pragma once

#include <cstdint>
#include <utility>

#include "absl/types/span.h"
#include "runtime/dtype.h"

namespace weft {

// Below this each rank sends all it has to all others: one step instead of two or more.
inline constexpr int64_t kDirectBytes = 64 << 10;
// Up to about this a message travels at once in MPI libraries; a longer one first asks the
// receiver. Two steps of such messages are faster than one that asks.
inline constexpr int64_t kEagerBytes = 4000;
// Large transfers are cut into pieces of this size, one reduced or handed on while the next
// arrives.
inline constexpr int64_t kPieceBytes = 256 << 10;

// Up to this ranks of one host exchange contributions through memory that they share, where their
// transport says so.
inline constexpr int64_t kSharedBytes = 32 << 10;

// Whether an all-reduce is one exchange of everything, rather than reduce-scatter and all-gather.
bool AllReduceIsDirect(int size, int64_t count, DType dtype);
// Whether an all-reduce may be one exchange of everything through shared memory: it is short, and
// no rank sends other bytes than it would in messages. And the longest of those.
bool AllReduceMayShare(int size, int64_t count, DType dtype);
int64_t AllReduceSharedBytes(int size);
// Whether an all-gather sends each block directly to all, rather than around a ring.
bool AllGatherIsDirect(absl::Span<const int64_t> counts, DType dtype);
// Whether a broadcast goes down a binomial tree, rather than along a chain in pieces.
bool BroadcastIsTree(int size, int64_t count, DType dtype);
// Elements [first, second) of `count` that rank `rank` reduces in a two-step all-reduce.
std::pair<int64_t, int64_t> AllReduceBlock(int rank, int size, int64_t count);

// Bytes of workspace in which a rank keeps what the others contribute to a reduction: each part on
// cache lines of its own, two pieces of each where there are several.
int64_t CacheLines(int64_t bytes);
int64_t ReduceWorkspaceBytes(int size, int64_t own_block_bytes);
int64_t AllReduceWorkspaceBytes(int rank, int size, int64_t count, DType dtype);

// Payload bytes that `rank` sends to other ranks.
int64_t AllReduceBytesSent(int rank, int size, int64_t count, DType dtype);
int64_t ReduceScatterBytesSent(int rank, absl::Span<const int64_t> counts, DType dtype);
int64_t AllGatherBytesSent(int rank, absl::Span<const int64_t> counts, DType dtype);
int64_t AllToAllBytesSent(int rank, absl::Span<const int64_t> send_counts, DType dtype);
int64_t BroadcastBytesSent(int rank, int size, int root, int64_t count, DType dtype);

}  // namespace weft
