// The data movement of CpuCommunicator, one algorithm per function. Each answers the first failure
// and may leave requests in flight then; Finish waits for them.
#include <algorithm>
#include <cstring>

#include "runtime/collective_bytes.h"
#include "runtime/cpu_communicator.h"
#include "runtime/reduce.h"
#include "runtime/status.h"

namespace weft {

// `in` is copied before anyone reads it, and only this rank reads `in` itself: out may be in.
absl::Status CpuCommunicator::ShareAndReduce(const void* in, void* out, int64_t count, DType dtype,
                                             Monoid monoid) {
  const int64_t bytes = count * SizeOf(dtype);
  CountSent(bytes * (size() - 1));
  WEFT_RETURN_IF_ERROR(exchange_->Exchange(in, bytes, absl::MakeSpan(sources_)));
  ReduceInOrder(dtype, monoid, sources_, out, count);
  return absl::OkStatus();
}

absl::Status CpuCommunicator::ExchangeAndReduce(const std::byte* in, std::byte* out, int64_t count,
                                                DType dtype, Monoid monoid) {
  const int64_t bytes = count * SizeOf(dtype);
  std::byte* const workspace = Workspace(AllReduceWorkspaceBytes(rank(), size(), count, dtype));
  for (int step = 1; step < size(); ++step) {
    const int from = (rank() + size() - step) % size();
    std::byte* const place = workspace + PlaceOf(from) * CacheLines(bytes);
    sources_[from] = place;
    Receive(from, place, bytes, receives_[from]);
  }
  sources_[rank()] = in;
  for (int step = 1; step < size(); ++step) {
    const int to = (rank() + step) % size();
    Send(to, in, bytes, sends_[to]);
  }
  WEFT_RETURN_IF_ERROR(JoinAll());  // sends too: out may be in
  ReduceInOrder(dtype, monoid, sources_, out, count);
  return absl::OkStatus();
}

// Piece i of the own block arrives from all peers, and piece i of each peer's block leaves, while
// piece i-1 is reduced. No rank waits for a peer that is behind it by more than it has posted for.
absl::Status CpuCommunicator::ReduceBlocks(const std::byte* in, std::byte* out, DType dtype,
                                           Monoid monoid) {
  const int64_t element_bytes = SizeOf(dtype);
  const int64_t piece = kPieceBytes / element_bytes;
  const int64_t own_size = BlockSize(rank());
  const std::byte* const own = in + offsets_[rank()] * element_bytes;
  int64_t largest = 0;
  for (int r = 0; r < size(); ++r) largest = std::max(largest, BlockSize(r));
  const int64_t stride = CacheLines(std::min(own_size, piece) * element_bytes);
  std::byte* const workspace = Workspace(ReduceWorkspaceBytes(size(), own_size * element_bytes));
  const auto place = [&](int64_t index, int from) {
    return workspace + ((index % 2) * (size() - 1) + PlaceOf(from)) * stride;
  };
  const auto start = [&](int64_t index) {
    const int64_t count = std::min(piece, own_size - index * piece);
    for (int step = 1; step < size() && count > 0; ++step) {
      const int from = (rank() + size() - step) % size();
      Receive(from, place(index, from), count * element_bytes,
              receives_[(index % 2) * size() + from]);
    }
  };
  start(0);
  SendPiece(in, piece, 0, element_bytes);
  for (int64_t index = 0; index * piece < largest; ++index) {
    if ((index + 1) * piece < largest) {
      start(index + 1);
      for (int r = 0; r < size(); ++r) {
        WEFT_RETURN_IF_ERROR(Join(sends_[((index + 1) % 2) * size() + r]));
      }
      SendPiece(in, piece, index + 1, element_bytes);
    }
    const int64_t count = std::min(piece, own_size - index * piece);
    if (count <= 0) continue;
    for (int r = 0; r < size(); ++r) {
      sources_[r] = r == rank() ? own + index * piece * element_bytes : place(index, r);
      WEFT_RETURN_IF_ERROR(Join(receives_[(index % 2) * size() + r]));
    }
    ReduceInOrder(dtype, monoid, sources_, out + index * piece * element_bytes, count);
  }
  return JoinAll();
}

void CpuCommunicator::SendPiece(const std::byte* in, int64_t piece, int64_t index,
                                int64_t element_bytes) {
  for (int step = 1; step < size(); ++step) {
    const int to = (rank() + step) % size();
    const int64_t count = std::min(piece, BlockSize(to) - index * piece);
    if (count <= 0) continue;
    Send(to, in + (offsets_[to] + index * piece) * element_bytes, count * element_bytes,
         sends_[(index % 2) * size() + to]);
  }
}

absl::Status CpuCommunicator::GatherDirect(std::byte* out, int64_t element_bytes) {
  for (int step = 1; step < size(); ++step) {
    const int from = (rank() + size() - step) % size();
    if (BlockSize(from) == 0) continue;
    Receive(from, out + offsets_[from] * element_bytes, BlockSize(from) * element_bytes,
            receives_[from]);
  }
  for (int step = 1; step < size() && BlockSize(rank()) > 0; ++step) {
    const int to = (rank() + step) % size();
    Send(to, out + offsets_[rank()] * element_bytes, BlockSize(rank()) * element_bytes, sends_[to]);
  }
  return JoinAll();
}

// In step k every rank hands the block of the rank k before it to the next.
absl::Status CpuCommunicator::GatherRing(std::byte* out, int64_t element_bytes) {
  const int next = (rank() + 1) % size();
  const int previous = (rank() + size() - 1) % size();
  const auto block = [&](int step) { return (rank() + size() - step) % size(); };
  for (int step = 1; step < size(); ++step) {
    const int r = block(step);
    if (BlockSize(r) == 0) continue;
    Receive(previous, out + offsets_[r] * element_bytes, BlockSize(r) * element_bytes,
            receives_[step]);
  }
  for (int step = 0; step + 1 < size(); ++step) {
    const int r = block(step);
    if (step > 0) WEFT_RETURN_IF_ERROR(Join(receives_[step]));
    if (BlockSize(r) == 0) continue;
    Send(next, out + offsets_[r] * element_bytes, BlockSize(r) * element_bytes, sends_[step]);
  }
  return JoinAll();
}

absl::Status CpuCommunicator::BroadcastTree(void* data, int64_t bytes, int root) {
  const int position = (rank() - root + size()) % size();
  int step = 1;
  while (step < size() && (position & step) == 0) step *= 2;
  if (position != 0) {
    Receive((position - step + root) % size(), data, bytes, receives_[0]);
    WEFT_RETURN_IF_ERROR(Join(receives_[0]));
  }
  int children = 0;
  for (step /= 2; step > 0; step /= 2) {
    if (position + step >= size()) continue;
    Send((position + step + root) % size(), data, bytes, sends_[children++]);
  }
  return JoinAll();
}

// Root -> next -> ... in pieces: a rank hands one on while the next arrives.
absl::Status CpuCommunicator::BroadcastChain(std::byte* data, int64_t bytes, int root) {
  const int position = (rank() - root + size()) % size();
  const int next = (rank() + 1) % size();
  const int previous = (rank() + size() - 1) % size();
  const auto length = [&](int64_t begin) { return std::min(kPieceBytes, bytes - begin); };
  if (position > 0) Receive(previous, data, length(0), receives_[0]);
  for (int64_t begin = 0, slot = 0; begin < bytes; begin += kPieceBytes, slot = 1 - slot) {
    const int64_t after = begin + kPieceBytes;
    if (position > 0 && after < bytes) {
      Receive(previous, data + after, length(after), receives_[1 - slot]);
    }
    WEFT_RETURN_IF_ERROR(Join(receives_[slot]));
    if (position + 1 == size()) continue;
    WEFT_RETURN_IF_ERROR(Join(sends_[slot]));
    Send(next, data + begin, length(begin), sends_[slot]);
  }
  return JoinAll();
}

}  // namespace weft
