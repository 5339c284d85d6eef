// Combines what the blocks of a kernel left as parts of each result, in a fixed order: equal inputs
// give equal bits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda_block.h"
#include "kernels/cuda_launch.h"

namespace weft {

// Parts that a thread reads at a time.
inline constexpr int kFoldAhead = 12;

// store(i, combination over the parts of partial[part * width + i]) for i < results. A block has a
// warp's columns at a time; each of its warps reads a part of them, and then has one column.
template <typename P, typename Combine, typename Store>
__global__ void __launch_bounds__(kWarp* kWarp)
    FoldPartsKernel(const P* partial, int64_t parts, int64_t width, int64_t results, P identity,
                    Combine combine, Store store) {
  __shared__ P values[kWarp][kWarp + 1];
  for (int64_t tile = blockIdx.x * static_cast<int64_t>(kWarp); tile < results;
       tile += gridDim.x * static_cast<int64_t>(kWarp)) {
    const int64_t i = tile + threadIdx.x;
    P value = identity;
    for (int64_t first = threadIdx.y; i < results && first < parts; first += kFoldAhead * kWarp) {
      P read[kFoldAhead];
#pragma unroll
      for (int a = 0; a < kFoldAhead; ++a) {
        const int64_t part = first + a * kWarp;
        read[a] = part < parts ? partial[part * width + i] : identity;
      }
#pragma unroll
      for (int a = 0; a < kFoldAhead; ++a) value = combine(value, read[a]);
    }
    values[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    value = WarpReduce(values[threadIdx.x][threadIdx.y], combine);
    if (threadIdx.x == 0 && tile + threadIdx.y < results) store(tile + threadIdx.y, value);
    __syncthreads();
  }
}

template <typename P, typename Combine, typename Store>
absl::Status FoldParts(const KernelContext& c, const P* partial, int64_t parts, int64_t width,
                       int64_t results, P identity, Combine combine, Store store) {
  return Launch(c, &FoldPartsKernel<P, Combine, Store>,
                {GridFor(results, kWarp), dim3(kWarp, kWarp)}, partial, parts, width, results,
                identity, combine, store);
}

}  // namespace weft
