// The CPU kernels of attention and its gradient (attention.cc defines the ops).
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "graph/op_def.h"
#include "runtime/kernel.h"

namespace weft {

// Blockwise attention: a tile of queries against a block of keys at a time, with the running
// maximum and sum of each row (Milakov and Gimelshein, arXiv 1805.02867); no S x T matrix.
absl::Status AttentionCpu(const KernelContext& k);
int64_t AttentionWorkspace(const CostContext& c);

// Recomputes each block's scores and gives their gradients (Dao et al., arXiv 2205.14135,
// section 3.1, with the log-sum-exp saved).
absl::Status AttentionGradCpu(const KernelContext& k);
int64_t AttentionGradWorkspace(const CostContext& c);

}  // namespace weft
