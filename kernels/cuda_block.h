// Sums and maxima over the threads of a block, in a fixed order: equal inputs give equal bits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace weft {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

struct SumOf {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
// NaN in either gives NaN.
struct MaxOf {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return (a > b || a != a) ? a : b;
  }
};

// Over the 32 lanes of a warp, all of which must call; every lane gets the result.
template <typename Combine, typename T>
__device__ inline T WarpReduce(T value, Combine combine) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, step));
  }
  return value;
}

// Over a block of whole warps, all of whose threads must call; every thread gets the result.
template <typename Combine, typename T>
__device__ inline T BlockReduce(T value, T identity, Combine combine) {
  __shared__ T partial[kWarp];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int warps = blockDim.x / kWarp;
  value = WarpReduce(value, combine);
  __syncthreads();  // the last call's readers are done
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  value = lane < warps ? partial[lane] : identity;
  return WarpReduce(value, combine);
}

template <typename T>
__device__ inline T BlockSum(T value) {
  return BlockReduce(value, T(0), SumOf());
}

}  // namespace weft
