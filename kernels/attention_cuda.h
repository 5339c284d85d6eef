// What attention's CUDA kernels know of their operands, and the two halves of them.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "kernels/attention_geometry.h"
#include "kernels/cuda_index_set.h"
#include "runtime/kernel.h"

namespace weft {

struct AttentionOnCuda {
  int64_t batch, s, t, heads, kv_heads, d, dv;
  CudaIndexSet queries, keys;  // logical positions
  CudaIndexSet query_heads, key_heads;
  int64_t group;  // query heads a key head, of the logical tensors
  bool causal;
  double scale;

  // `first` is the input with q; k and v follow. Internal if a query head's key head is not here.
  static absl::StatusOr<AttentionOnCuda> Of(const KernelContext& c, int first);

  // Local key head of a local query head.
  __device__ int64_t KeyHead(int64_t head) const {
    return key_heads.ToLocal(query_heads.ToLogical(head) / group);
  }
  // How many of the local keys, from the first on, a query row sees; never falls with the row.
  __device__ int64_t Seen(int64_t row) const {
    return causal ? keys.CountUpTo(queries.ToLogical(row)) : t;
  }
};

// The own kernels: every shape and dtype, blockwise, no matrix units. Equal inputs give equal bits.
absl::Status AttentionByBlocks(const KernelContext& c, const AttentionOnCuda& a);
absl::Status AttentionGradByBlocks(const KernelContext& c, const AttentionOnCuda& a);

}  // namespace weft
