// Combines what the blocks of a kernel left as parts of each result, in a fixed order: equal inputs
// give equal bits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda_block.h"
#include "kernels/cuda_launch.h"

namespace weft {

inline constexpr int kFoldRows = 16;

// store(i, combination over the parts of partial[part * width + i]) for i < results.
template <typename P, typename Combine, typename Store>
__global__ void __launch_bounds__(kWarp* kFoldRows)
    FoldPartsKernel(const P* partial, int64_t parts, int64_t width, int64_t results, P identity,
                    Combine combine, Store store) {
  __shared__ P values[kFoldRows][kWarp];
  for (int64_t tile = blockIdx.x * static_cast<int64_t>(kWarp); tile < results;
       tile += gridDim.x * static_cast<int64_t>(kWarp)) {
    const int64_t i = tile + threadIdx.x;
    P value = identity;
    if (i < results) {
#pragma unroll 4
      for (int64_t part = threadIdx.y; part < parts; part += kFoldRows) {
        value = combine(value, partial[part * width + i]);
      }
    }
    values[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    if (threadIdx.y == 0 && i < results) {
      for (int row = 1; row < kFoldRows; ++row) value = combine(value, values[row][threadIdx.x]);
      store(i, value);
    }
    __syncthreads();
  }
}

template <typename P, typename Combine, typename Store>
absl::Status FoldParts(const KernelContext& c, const P* partial, int64_t parts, int64_t width,
                       int64_t results, P identity, Combine combine, Store store) {
  return Launch(c, &FoldPartsKernel<P, Combine, Store>,
                {GridFor(results, kWarp), dim3(kWarp, kFoldRows)}, partial, parts, width, results,
                identity, combine, store);
}

}  // namespace weft
