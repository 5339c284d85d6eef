#include "runtime/collective_bytes.h"

#include <algorithm>
#include <numeric>

namespace weft {
namespace {

int64_t Total(absl::Span<const int64_t> counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

}  // namespace

bool AllReduceIsDirect(int size, int64_t count, DType dtype) {
  const int64_t bytes = count * SizeOf(dtype);
  const int64_t largest_block = (count + size - 1) / size * SizeOf(dtype);
  const bool blocks_hurry = bytes > kEagerBytes && largest_block <= kEagerBytes;
  return bytes * (size - 1) <= kDirectBytes && !blocks_hurry;
}

// Two ranks send each other as much in two steps as in one.
bool AllReduceMayShare(int size, int64_t count, DType dtype) {
  return count * SizeOf(dtype) <= AllReduceSharedBytes(size) &&
         (size == 2 || AllReduceIsDirect(size, count, dtype));
}

int64_t AllReduceSharedBytes(int size) {
  if (size < 2) return 0;
  return size == 2 ? kSharedBytes : std::min(kSharedBytes, kDirectBytes / (size - 1));
}

bool AllGatherIsDirect(absl::Span<const int64_t> counts, DType dtype) {
  return counts.size() <= 2 || Total(counts) * SizeOf(dtype) <= kDirectBytes;
}

bool BroadcastIsTree(int size, int64_t count, DType dtype) {
  return size <= 2 || count * SizeOf(dtype) <= kDirectBytes;
}

std::pair<int64_t, int64_t> AllReduceBlock(int rank, int size, int64_t count) {
  const int64_t quotient = count / size;
  const int64_t remainder = count % size;
  const int64_t begin = rank * quotient + std::min<int64_t>(rank, remainder);
  return {begin, begin + quotient + (rank < remainder ? 1 : 0)};
}

int64_t CacheLines(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t ReduceWorkspaceBytes(int size, int64_t own_block_bytes) {
  const int64_t pieces = own_block_bytes > kPieceBytes ? 2 : 1;
  return pieces * (size - 1) * CacheLines(std::min(own_block_bytes, kPieceBytes));
}

int64_t AllReduceWorkspaceBytes(int rank, int size, int64_t count, DType dtype) {
  if (size == 1 || count == 0) return 0;
  if (AllReduceIsDirect(size, count, dtype)) {
    return (size - 1) * CacheLines(count * SizeOf(dtype));
  }
  const auto [begin, end] = AllReduceBlock(rank, size, count);
  return ReduceWorkspaceBytes(size, (end - begin) * SizeOf(dtype));
}

int64_t AllReduceBytesSent(int rank, int size, int64_t count, DType dtype) {
  if (size == 1) return 0;
  if (AllReduceIsDirect(size, count, dtype)) return count * SizeOf(dtype) * (size - 1);
  const auto [begin, end] = AllReduceBlock(rank, size, count);
  const auto [next_begin, next_end] = AllReduceBlock((rank + 1) % size, size, count);
  // Reduce-scatter sends all but the own block, the ring all but the next rank's.
  return (count - (end - begin) + count - (next_end - next_begin)) * SizeOf(dtype);
}

int64_t ReduceScatterBytesSent(int rank, absl::Span<const int64_t> counts, DType dtype) {
  return (Total(counts) - counts[rank]) * SizeOf(dtype);
}

int64_t AllGatherBytesSent(int rank, absl::Span<const int64_t> counts, DType dtype) {
  const int size = static_cast<int>(counts.size());
  if (AllGatherIsDirect(counts, dtype)) return counts[rank] * (size - 1) * SizeOf(dtype);
  return (Total(counts) - counts[(rank + 1) % size]) * SizeOf(dtype);
}

int64_t AllToAllBytesSent(int rank, absl::Span<const int64_t> send_counts, DType dtype) {
  return (Total(send_counts) - send_counts[rank]) * SizeOf(dtype);
}

int64_t BroadcastBytesSent(int rank, int size, int root, int64_t count, DType dtype) {
  const int position = (rank - root + size) % size;
  if (!BroadcastIsTree(size, count, dtype)) {
    return position + 1 < size ? count * SizeOf(dtype) : 0;
  }
  int64_t children = 0;
  for (int step = 1; step < size && (position & step) == 0; step *= 2) {
    if (position + step < size) ++children;
  }
  return children * count * SizeOf(dtype);
}

}  // namespace weft
