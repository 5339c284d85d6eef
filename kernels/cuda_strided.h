// An index space over several operands with strides of their own, as kernels on the device walk it:
// strided.h's counterpart.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Dimensions that all operands step through evenly are merged; extents of 1 are gone. Innermost
// last.
template <int kOperands>
struct CudaSpace {
  static constexpr int kMostDims = 8;
  int rank = 0;
  int64_t elements = 1;
  int64_t extents[kMostDims] = {};
  int64_t strides[kOperands][kMostDims] = {};

  // Offsets, in elements, of the operands at linear index `index` of the space.
  __device__ void Offsets(int64_t index, int64_t (&offsets)[kOperands]) const {
#pragma unroll
    for (int k = 0; k < kOperands; ++k) offsets[k] = 0;
    // 32-bit division is several times faster, and nearly every tensor is small enough.
    if (elements <= 0x7fffffff) {
      auto rest = static_cast<uint32_t>(index);
      for (int d = rank - 1; d >= 0; --d) {
        const auto extent = static_cast<uint32_t>(extents[d]);
        const uint32_t quotient = rest / extent;
        const int64_t at = rest - quotient * extent;
        rest = quotient;
#pragma unroll
        for (int k = 0; k < kOperands; ++k) offsets[k] += at * strides[k][d];
      }
      return;
    }
    for (int d = rank - 1; d >= 0; --d) {
      const int64_t at = index % extents[d];
      index /= extents[d];
#pragma unroll
      for (int k = 0; k < kOperands; ++k) offsets[k] += at * strides[k][d];
    }
  }
};

// Unimplemented if more than eight dimensions remain.
template <int kOperands>
absl::StatusOr<CudaSpace<kOperands>> MakeCudaSpace(absl::Span<const int64_t> shape,
                                                   const std::array<Shape, kOperands>& strides) {
  CudaSpace<kOperands> space;
  for (size_t d = 0; d < shape.size(); ++d) {
    space.elements *= shape[d];
    if (shape[d] == 1) continue;
    const int last = space.rank - 1;
    bool merges = last >= 0;
    for (int k = 0; k < kOperands; ++k) {
      merges = merges && space.strides[k][last] == strides[k][d] * shape[d];
    }
    const int to = merges ? last : space.rank;
    if (to == CudaSpace<kOperands>::kMostDims) {
      return absl::UnimplementedError(absl::StrCat("shape ", ToString(shape),
                                                   " has more dimensions than CUDA kernels walk (",
                                                   to, "); merge some by a reshape"));
    }
    space.extents[to] = merges ? space.extents[to] * shape[d] : shape[d];
    for (int k = 0; k < kOperands; ++k) space.strides[k][to] = strides[k][d];
    space.rank = to + 1;
  }
  return space;
}

}  // namespace weft
