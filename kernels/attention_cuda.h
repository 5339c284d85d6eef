// What attention's CUDA kernels know of their operands, and the own kernels.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "kernels/attention_geometry.h"
#include "kernels/cuda_block.h"
#include "kernels/cuda_index_set.h"
#include "runtime/kernel.h"

namespace weft {

struct AttentionOnCuda {
  int64_t batch, s, t, heads, kv_heads, d, dv;
  CudaIndexSet queries, keys;  // logical positions
  CudaIndexSet query_heads, key_heads;
  int64_t group;  // query heads a key head, of the logical tensors
  AttentionMask mask;
  const int32_t* visible;  // [batch,s,2], or nullptr
  double scale;

  // `first` is the input with q; k and v follow. `visible` is the optional input of that name.
  // Internal if a query head's key head is not here.
  static absl::StatusOr<AttentionOnCuda> Of(const KernelContext& c, int first, int visible);

  // Local key head of a local query head.
  __device__ int64_t KeyHead(int64_t head) const {
    return key_heads.ToLocal(query_heads.ToLogical(head) / group);
  }
  // The local keys that a query row sees; none of a row behind the last.
  __device__ KeyRun Seen(int64_t at_batch, int64_t row) const {
    if (row >= s) return {0, 0};
    const int32_t* bounds = visible == nullptr ? nullptr : visible + (at_batch * s + row) * 2;
    const Interval seen = mask.Of(queries.ToLogical(row), bounds);
    const KeyRun run{keys.CountUpTo(seen.begin - 1), keys.CountUpTo(seen.end - 1)};
    return run.empty() ? KeyRun{0, 0} : run;
  }
  // From the first to the last key that some of the rows [first, first + rows) see, at most a warp
  // of rows. All lanes of a warp must call, and get the same.
  __device__ KeyRun Span(int64_t at_batch, int64_t first, int rows) const {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    KeyRun run = lane < rows ? Seen(at_batch, first + lane) : KeyRun{0, 0};
    if (run.empty()) run.from = t;
    return {-WarpReduce(-run.from, MaxOf()), WarpReduce(run.to, MaxOf())};
  }
};

// Tensors of a forward kernel; nullptr: absent.
struct AttentionTensors {
  const Operand &q, &k, &v;
  const Operand *o_before, *lse_before;
  const Operand &o, &lse;
  bool wide;  // o is in the type of sums
};

// Tensors of a backward kernel; nullptr: absent.
struct AttentionGradTensors {
  const Operand &doo, &q, &k, &v, &lse;
  const void* delta;
  const Operand *dq_before, *dk_before, *dv_before;
  const Operand &dq, &dk, &dv;
  bool wide;  // the gradients are in the type of sums
};

// The own kernels: every shape and dtype, blockwise, no matrix units. Equal inputs give equal bits.
absl::Status AttentionByBlocks(const KernelContext& c, const AttentionOnCuda& a,
                               const AttentionTensors& x);
absl::Status AttentionGradByBlocks(const KernelContext& c, const AttentionOnCuda& a,
                                   const AttentionGradTensors& x);
// delta of each row and head: its do o, less dlse (may be nullptr), in the type of sums.
absl::Status AttentionDeltas(const KernelContext& c, const Operand& doo, const Operand& o,
                             const Operand* dlse, void* delta);

// The data of an operand that may be absent.
template <typename T>
T* DataOf(const Operand* x) {
  return x == nullptr ? nullptr : x->as<T>();
}

}  // namespace weft
