// Sums of squares on CUDA in a fixed order: those of handfuls of elements by threads, then over the
// blocks, one tile of kSumTile elements each, then over the tiles. Whoever sums in this order gets
// the bits of sum_squares.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda_batch.h"
#include "runtime/kernel.h"

namespace weft {

// Squares of N elements, summed in Run: RunOf of the tensor's type within packs, double where a
// tile ends.
template <typename Run, typename W, int N>
__device__ inline double SquaresOf(const W (&x)[N]) {
  Run run = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) run += static_cast<Run>(x[i]) * static_cast<Run>(x[i]);
  return run;
}

// *y is to be the sum of `tiles` sums of tiles, all on the device; 0 if there is none.
struct TileSums {
  const double* sums;
  int64_t tiles;
  double* y;
};
using TileSumBatches = CudaBatches<TileSums, kParameterBytes>;
// Adds up the tiles of many tensors, each by a block (of 1 in Add).
TileSumBatches AddTilesCuda(const KernelContext& c);

}  // namespace weft
