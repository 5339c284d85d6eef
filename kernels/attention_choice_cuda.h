// For what part of the pairs of queries and keys cuDNN has the mask that the boxes say.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/attention_cuda.h"
#include "kernels/cuda_attention_plans.h"
#include "runtime/kernel.h"

namespace weft {

// All that any local query sees of the local keys: rows [row, row + rows) see keys [0, keys), all
// of them or, if causal, those up to their own position, `window` at most (0: all).
struct CudnnPart {
  int64_t row, rows, keys;
  bool causal;
  int64_t window;

  bool IsWhole(const AttentionOnCuda& a) const { return rows == a.s && keys == a.t; }
};

// Nothing if no one part is all, if a mask is none of cuDNN's, if its grouping of heads is not that
// of the local ones, or if it does not take the dtype of `q`.
std::optional<CudnnPart> CudnnPartOf(const AttentionOnCuda& a, const Operand& q);

// The plan for it, of operands of that dtype.
AttentionShape ShapeOfPart(const AttentionOnCuda& a, const CudnnPart& part, DType dtype);

// to[b][i][h] = from[b][h][i]: lse is [batch,rows,heads] in weft and [batch,heads,rows] in cuDNN.
absl::Status LseFromCudnn(const KernelContext& c, const AttentionOnCuda& a, const float* from,
                          float* to);
// to[b][h][i] = from[b][row + i][h] for the rows of the part. A row that has seen no key has lse
// infinite in cuDNN, so that its probabilities are 0.
absl::Status LseToCudnn(const KernelContext& c, const AttentionOnCuda& a, const CudnnPart& part,
                        const float* from, float* to);

}  // namespace weft
