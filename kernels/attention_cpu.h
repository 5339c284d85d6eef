// The CPU kernels of attention, its blocks and their gradients (attention.cc and attention_block.cc
// define the ops).
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
// The same, running on from an earlier result.
absl::Status AttentionBlockCpu(const KernelContext& k);

// Recomputes each block's scores and gives their gradients (Dao et al., arXiv 2205.14135,
// section 3.1, with the log-sum-exp saved).
absl::Status AttentionGradCpu(const KernelContext& k);
int64_t AttentionGradWorkspace(const CostContext& c);
// The same with delta saved, added to earlier gradients.
absl::Status AttentionBlockGradCpu(const KernelContext& k);
int64_t AttentionBlockGradWorkspace(const CostContext& c);

}  // namespace weft
