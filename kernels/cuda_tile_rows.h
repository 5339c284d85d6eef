// Rows of matrices in a block's shared memory, in the type that sums are formed in.
#pragma once

#include <cstdint>

#include "kernels/cuda_element.h"

namespace weft {

// to[i][0 .. width) = row `first + i` of `from`, for i < rows; zeros from row `end` on. The block's
// threads share the work; `pitch` elements between rows of `to`, `stride` between those of `from`.
template <typename T>
__device__ inline void LoadRows(const T* from, int64_t stride, int64_t first, int64_t end, int rows,
                                int64_t width, WideOf<T>* to, int64_t pitch) {
  for (int64_t i = threadIdx.x; i < rows * width; i += blockDim.x) {
    const int64_t row = i / width, column = i % width;
    to[row * pitch + column] =
        first + row < end ? Widen(from[(first + row) * stride + column]) : WideOf<T>(0);
  }
}

template <typename W>
__device__ inline W Dot(const W* a, const W* b, int64_t n) {
  W sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace weft
