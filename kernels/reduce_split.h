// How the CUDA kernels of reduce_sum, reduce_mean and reduce_max cut their work; the size of their
// scratch follows from the same code.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/attrs.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Local extents of the results and of what each is reduced over, and the number of parts into which
// a reduction is cut so that few results still fill a GPU. The parts are added in order.
struct ReduceSplit {
  ReduceSplit(const Shape& x, const Attrs& attrs) {
    const std::vector<int64_t>& axes = attrs.Ints("axes");
    const int rank = static_cast<int>(x.size());
    for (int d = 0; d < rank; ++d) reduced.push_back(axes.empty());
    for (int64_t axis : axes) reduced[axis < 0 ? axis + rank : axis] = true;
    for (int d = 0; d < rank; ++d) {
      (reduced[d] ? count : results) *= x[d];
      if (x[d] != 1) rows = reduced[d];
    }
    // Four blocks a multiprocessor of the largest GPUs. One has a part of a row, of at least 4096
    // elements, or of 256 columns, of at least 64 elements each.
    constexpr int64_t kBlocks = 4 * 132;
    const int64_t jobs = std::max<int64_t>(rows ? results : (results + 255) / 256, 1);
    parts = std::clamp<int64_t>(std::min(kBlocks / jobs, count / (rows ? 4096 : 64)), 1, kBlocks);
  }

  absl::InlinedVector<bool, 6> reduced;
  bool rows = false;  // whether a reduced dimension is innermost
  int64_t results = 1, count = 1, parts = 1;
};

}  // namespace weft
