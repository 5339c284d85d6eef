// Scratch of the CUDA kernels, where it differs from the CPU's. Needs no CUDA: plans for GPUs are
// made on machines without one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "graph/op_def.h"

namespace weft {

// Elements of a tile of sum_squares and adamw, whose sums are added in order.
inline constexpr int64_t kSumTile = 8192;
// Blocks among which the gradient of a norm deals its rows; each has a row of sums in the scratch.
inline constexpr int64_t kNormBlocks = 264;
// cuBLASLt refuses scratch whose address is not a multiple of this; that of plans is one of 64.
inline constexpr int64_t kMatmulAlignment = 256;
// Scratch that matrix products may use: what NVIDIA's manual asks for on Hopper, wherever it
// starts.
inline constexpr int64_t kMatmulWorkspace = (int64_t{32} << 20) + kMatmulAlignment;

// Bytes of it that a product of so many operations gets: small ones are over before it could help.
inline int64_t MatmulWorkspaceFor(double flops) { return flops < 1e8 ? 0 : kMatmulWorkspace; }

int64_t SumSquaresCudaWorkspace(const CostContext& c);
int64_t AdamWCudaWorkspace(const CostContext& c);
int64_t NormGradCudaWorkspace(const CostContext& c);
int64_t ReduceCudaWorkspace(const CostContext& c);
int64_t EmbeddingGradCudaWorkspace(const CostContext& c);
int64_t EinsumCudaWorkspace(const CostContext& c);
int64_t HeadCudaWorkspace(const CostContext& c);
int64_t HeadGradCudaWorkspace(const CostContext& c);
int64_t HeadWithGradCudaWorkspace(const CostContext& c);
int64_t AttentionCudaWorkspace(const CostContext& c);
int64_t AttentionGradCudaWorkspace(const CostContext& c);
int64_t AttentionBlockCudaWorkspace(const CostContext& c);
int64_t AttentionBlockGradCudaWorkspace(const CostContext& c);
int64_t AttentionSinkGradCudaWorkspace(const CostContext& c);
int64_t NoCudaWorkspace(const CostContext& c);

}  // namespace weft
