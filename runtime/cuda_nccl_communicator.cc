#include "runtime/cuda_nccl_communicator.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/collective_bytes.h"
#include "runtime/cuda_box_kernels.h"
#include "runtime/cuda_status.h"
#include "runtime/reduce.h"
#include "runtime/status.h"

namespace weft {
namespace {

ncclDataType_t NcclType(DType dtype) {
  switch (dtype) {
    case DType::kF32: return ncclFloat32;
    case DType::kF64: return ncclFloat64;
    case DType::kBF16: return ncclBfloat16;
    case DType::kF16: return ncclFloat16;
    case DType::kI32: return ncclInt32;
    case DType::kI64: return ncclInt64;
    case DType::kU8:
    case DType::kBool: break;
  }
  return ncclUint8;
}

// Whether NCCL reduces as ReduceInOrder says.
bool NcclReduces(DType dtype, Monoid monoid) {
  return monoid == Monoid::kSum || (monoid == Monoid::kMax && !IsFloat(dtype));
}

ncclRedOp_t NcclOp(Monoid monoid) { return monoid == Monoid::kSum ? ncclSum : ncclMax; }

bool AllEqual(absl::Span<const int64_t> counts) {
  return std::all_of(counts.begin(), counts.end(), [&](int64_t c) { return c == counts[0]; });
}

absl::Status CheckCount(int64_t count) {
  if (count >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a collective of ", count, " elements"));
}

cudaStream_t Native(void* stream) { return static_cast<cudaStream_t>(stream); }

absl::Status CopyTo(void* to, const void* from, int64_t bytes, void* stream) {
  if (bytes == 0 || to == from) return absl::OkStatus();
  return CudaStatus(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, Native(stream)),
                    "copying on the device");
}

// The members of a group call that have something to say, until one fails.
#define WEFT_NCCL_RETURN_IF_ERROR(call) \
  if (const ncclResult_t weft_result_ = (call); NcclFails(weft_result_)) return weft_result_

}  // namespace

absl::Status NcclCommunicator::CheckCounts(absl::Span<const int64_t> counts) const {
  if (static_cast<int>(counts.size()) != size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(counts.size(), " counts for ", size(), " ranks"));
  }
  for (int64_t count : counts) WEFT_RETURN_IF_ERROR(CheckCount(count));
  return absl::OkStatus();
}

absl::StatusOr<std::byte*> NcclCommunicator::Scratch(int64_t bytes) {
  if (scratch_.empty() || scratch_.back().bytes() < bytes) {
    WEFT_ASSIGN_OR_RETURN(Arena larger, device_.Allocate(bytes));
    scratch_.push_back(std::move(larger));
  }
  return scratch_.back().data();
}

absl::Status NcclCommunicator::Reserve(int64_t count, DType dtype, Monoid monoid) {
  if (size() == 1 || NcclReduces(dtype, monoid)) return absl::OkStatus();
  return Scratch(size() * count * SizeOf(dtype)).status();
}

absl::Status NcclCommunicator::AllReduce(const void* in, void* out, int64_t count, DType dtype,
                                         Monoid monoid) {
  WEFT_RETURN_IF_ERROR(CheckCount(count));
  WEFT_RETURN_IF_ERROR(CheckReducible(dtype, monoid));
  if (count == 0) return absl::OkStatus();
  if (size() == 1) return CopyTo(out, in, count * SizeOf(dtype), native_stream());
  const cudaStream_t stream = Native(native_stream());
  CountSent(AllReduceBytesSent(rank(), size(), count, dtype));
  if (NcclReduces(dtype, monoid)) {
    return group_.Enqueue("all_reduce", [&](ncclComm_t communicator) {
      return ncclAllReduce(in, out, count, NcclType(dtype), NcclOp(monoid), communicator, stream);
    });
  }
  WEFT_ASSIGN_OR_RETURN(std::byte* const parts, Scratch(size() * count * SizeOf(dtype)));
  WEFT_RETURN_IF_ERROR(group_.Enqueue("all_reduce", [&](ncclComm_t communicator) {
    return ncclAllGather(in, parts, count, NcclType(dtype), communicator, stream);
  }));
  return CudaStatus(LaunchReduceInOrder(dtype, monoid, parts, size(), out, count, stream),
                    "all_reduce");
}

absl::Status NcclCommunicator::ReduceScatter(const void* in, void* out,
                                             absl::Span<const int64_t> counts, DType dtype,
                                             Monoid monoid) {
  WEFT_RETURN_IF_ERROR(CheckCounts(counts));
  WEFT_RETURN_IF_ERROR(CheckReducible(dtype, monoid));
  const int64_t own = counts[rank()];
  const int64_t element = SizeOf(dtype);
  if (size() == 1) return CopyTo(out, in, own * element, native_stream());
  const cudaStream_t stream = Native(native_stream());
  CountSent(ReduceScatterBytesSent(rank(), counts, dtype));
  if (NcclReduces(dtype, monoid) && AllEqual(counts)) {
    if (own == 0) return absl::OkStatus();
    return group_.Enqueue("reduce_scatter", [&](ncclComm_t communicator) {
      return ncclReduceScatter(in, out, own, NcclType(dtype), NcclOp(monoid), communicator, stream);
    });
  }
  WEFT_ASSIGN_OR_RETURN(std::byte* const parts, Scratch(size() * own * element));
  WEFT_RETURN_IF_ERROR(group_.Enqueue("reduce_scatter", [&](ncclComm_t communicator) {
    const auto* block = static_cast<const std::byte*>(in);
    for (int r = 0; r < size(); ++r) {
      if (counts[r] > 0) {
        WEFT_NCCL_RETURN_IF_ERROR(
            ncclSend(block, counts[r] * element, ncclUint8, r, communicator, stream));
      }
      if (own > 0) {
        WEFT_NCCL_RETURN_IF_ERROR(
            ncclRecv(parts + r * own * element, own * element, ncclUint8, r, communicator, stream));
      }
      block += counts[r] * element;
    }
    return ncclSuccess;
  }));
  return CudaStatus(LaunchReduceInOrder(dtype, monoid, parts, size(), out, own, stream),
                    "reduce_scatter");
}

absl::Status NcclCommunicator::AllGather(const void* in, void* out,
                                         absl::Span<const int64_t> counts, DType dtype) {
  WEFT_RETURN_IF_ERROR(CheckCounts(counts));
  const int64_t own = counts[rank()];
  const int64_t element = SizeOf(dtype);
  if (size() == 1) return CopyTo(out, in, own * element, native_stream());
  const cudaStream_t stream = Native(native_stream());
  CountSent(AllGatherBytesSent(rank(), counts, dtype));
  if (AllEqual(counts)) {
    if (own == 0) return absl::OkStatus();
    return group_.Enqueue("all_gather", [&](ncclComm_t communicator) {
      return ncclAllGather(in, out, own, NcclType(dtype), communicator, stream);
    });
  }
  auto* const blocks = static_cast<std::byte*>(out);
  const int64_t before =
      std::accumulate(counts.begin(), counts.begin() + rank(), int64_t{0}) * element;
  WEFT_RETURN_IF_ERROR(CopyTo(blocks + before, in, own * element, native_stream()));
  return group_.Enqueue("all_gather", [&](ncclComm_t communicator) {
    std::byte* block = blocks;
    for (int r = 0; r < size(); ++r) {
      if (r != rank() && own > 0) {
        WEFT_NCCL_RETURN_IF_ERROR(ncclSend(in, own * element, ncclUint8, r, communicator, stream));
      }
      if (r != rank() && counts[r] > 0) {
        WEFT_NCCL_RETURN_IF_ERROR(
            ncclRecv(block, counts[r] * element, ncclUint8, r, communicator, stream));
      }
      block += counts[r] * element;
    }
    return ncclSuccess;
  });
}

absl::Status NcclCommunicator::AllToAll(const void* in, Parts send, void* out, Parts receive,
                                        DType dtype) {
  for (absl::Span<const int64_t> numbers :
       {send.counts, send.offsets, receive.counts, receive.offsets}) {
    WEFT_RETURN_IF_ERROR(CheckCounts(numbers));
  }
  const int64_t element = SizeOf(dtype);
  const auto* const from = static_cast<const std::byte*>(in);
  auto* const to = static_cast<std::byte*>(out);
  if (send.counts[rank()] != receive.counts[rank()]) {
    return absl::InvalidArgumentError(absl::StrCat("all_to_all sends ", send.counts[rank()],
                                                   " elements to itself and receives ",
                                                   receive.counts[rank()]));
  }
  WEFT_RETURN_IF_ERROR(CopyTo(to + receive.offsets[rank()] * element,
                              from + send.offsets[rank()] * element, send.counts[rank()] * element,
                              native_stream()));
  if (size() == 1) return absl::OkStatus();
  const cudaStream_t stream = Native(native_stream());
  CountSent(AllToAllBytesSent(rank(), send.counts, dtype));
  return group_.Enqueue("all_to_all", [&](ncclComm_t communicator) {
    for (int r = 0; r < size(); ++r) {
      if (r == rank()) continue;
      if (send.counts[r] > 0) {
        WEFT_NCCL_RETURN_IF_ERROR(ncclSend(from + send.offsets[r] * element,
                                           send.counts[r] * element, ncclUint8, r, communicator,
                                           stream));
      }
      if (receive.counts[r] > 0) {
        WEFT_NCCL_RETURN_IF_ERROR(ncclRecv(to + receive.offsets[r] * element,
                                           receive.counts[r] * element, ncclUint8, r, communicator,
                                           stream));
      }
    }
    return ncclSuccess;
  });
}

absl::Status NcclCommunicator::Broadcast(void* data, int64_t count, DType dtype, int root) {
  WEFT_RETURN_IF_ERROR(CheckCount(count));
  if (root < 0 || root >= size()) {
    return absl::InvalidArgumentError(absl::StrCat("broadcast from rank ", root, " of ", size()));
  }
  if (size() == 1 || count == 0) return absl::OkStatus();
  CountSent(BroadcastBytesSent(rank(), size(), root, count, dtype));
  return group_.Enqueue("broadcast", [&](ncclComm_t communicator) {
    return ncclBroadcast(data, data, count, NcclType(dtype), root, communicator,
                         Native(native_stream()));
  });
}

#undef WEFT_NCCL_RETURN_IF_ERROR

}  // namespace weft
