// Boxes as kernels on the device read them: by value, in the kernel's parameters.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "runtime/box.h"
#include "runtime/kernel.h"
#include "runtime/status.h"

namespace weft {

// An IndexSet of at most kMost intervals.
struct CudaIndexSet {
  static constexpr int kMost = 8;
  int count = 0;
  int64_t begin[kMost] = {};
  int64_t local[kMost + 1] = {};  // local index of each interval's first; then the size

  // Unimplemented if the set is in more pieces.
  static absl::StatusOr<CudaIndexSet> Of(const IndexSet& set) {
    CudaIndexSet made;
    if (set.intervals().size() > kMost) {
      return absl::UnimplementedError(
          absl::StrCat("a dimension in ", set.intervals().size(),
                       " pieces on one rank; CUDA kernels take at most ", kMost));
    }
    for (const Interval& interval : set.intervals()) {
      made.begin[made.count] = interval.begin;
      made.local[made.count + 1] = made.local[made.count] + interval.size();
      ++made.count;
    }
    return made;
  }

  __host__ __device__ int64_t size() const { return local[count]; }
  __host__ __device__ int64_t ToLogical(int64_t index) const {
    int i = 0;
    while (i + 1 < count && index >= local[i + 1]) ++i;
    return begin[i] + index - local[i];
  }
  // -1 if the index is not held.
  __host__ __device__ int64_t ToLocal(int64_t logical) const {
    for (int i = 0; i < count; ++i) {
      const int64_t offset = logical - begin[i];
      if (offset >= 0 && offset < local[i + 1] - local[i]) return local[i] + offset;
    }
    return -1;
  }
  // How many held indices are at most `logical`.
  __host__ __device__ int64_t CountUpTo(int64_t logical) const {
    int64_t n = 0;
    for (int i = 0; i < count; ++i) {
      const int64_t size = local[i + 1] - local[i], seen = logical + 1 - begin[i];
      n += seen < 0 ? 0 : seen > size ? size : seen;
    }
    return n;
  }
};

// Linear logical index of each element of an operand, from its linear local index.
struct CudaBox {
  static constexpr int kMostDims = 6;
  bool dense = false;  // logical = local + offset
  int64_t offset = 0;
  int rank = 0;
  CudaIndexSet dims[kMostDims];
  int64_t strides[kMostDims] = {};  // of the logical tensor

  static absl::StatusOr<CudaBox> Of(const Operand& operand) {
    const Box& box = *operand.box;
    const Shape& whole = operand.logical->shape;
    CudaBox made;
    made.rank = static_cast<int>(whole.size());
    int64_t stride = 1;
    // Dense if all dimensions inside the outermost one that is longer than 1 here are whole.
    made.dense = true;
    bool below_whole = true;
    for (int d = made.rank - 1; d >= 0; --d) {
      const IndexSet& set = box.dims[d];
      if (set.size() != 1 && !(below_whole && set.contiguous())) made.dense = false;
      below_whole = below_whole && set.size() == whole[d];
      made.offset += set.begin() * stride;
      stride *= whole[d];
    }
    if (made.dense) return made;
    if (made.rank > kMostDims) {
      return absl::UnimplementedError(absl::StrCat("a tensor of rank ", made.rank,
                                                   "; CUDA kernels that count logical elements "
                                                   "take at most ",
                                                   kMostDims));
    }
    stride = 1;
    for (int d = made.rank - 1; d >= 0; --d) {
      WEFT_ASSIGN_OR_RETURN(made.dims[d], CudaIndexSet::Of(box.dims[d]));
      made.strides[d] = stride;
      stride *= whole[d];
    }
    return made;
  }

  __host__ __device__ int64_t ToLogical(int64_t index) const {
    if (dense) return index + offset;
    int64_t logical = 0;
    for (int d = rank - 1; d >= 0; --d) {
      const int64_t n = dims[d].size();
      logical += dims[d].ToLogical(index % n) * strides[d];
      index /= n;
    }
    return logical;
  }
};

}  // namespace weft
