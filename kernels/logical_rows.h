// Walks a box in local order together with the logical linear indices of what it holds.
#pragma once

#include <cstdint>

#include "kernels/strided.h"
#include "runtime/box.h"
#include "runtime/tensor_spec.h"

namespace weft {

namespace logical_rows_internal {

template <typename F>
void Walk(const Box& box, const Shape& strides, size_t dim, int64_t logical, int64_t& local, F& f) {
  if (dim == box.dims.size()) {
    f(local++, logical, int64_t{1});
    return;
  }
  for (const Interval& run : box.dims[dim].intervals()) {
    if (dim + 1 == box.dims.size()) {
      f(local, logical + run.begin, run.size());
      local += run.size();
      continue;
    }
    for (int64_t i = run.begin; i < run.end; ++i) {
      Walk(box, strides, dim + 1, logical + i * strides[dim], local, f);
    }
  }
}

}  // namespace logical_rows_internal

// Calls f(local, logical, n) for each run of n elements that are adjacent both here and in the
// whole tensor of `shape`; `local` and `logical` are linear (row-major) indices of the first.
template <typename F>
void ForEachLogicalRow(const Box& box, const Shape& shape, F&& f) {
  int64_t local = 0;
  logical_rows_internal::Walk(box, DenseStrides(shape), 0, 0, local, f);
}

}  // namespace weft
