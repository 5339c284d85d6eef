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
    for (int d = 0; d < rank; ++d) (reduced[d] ? count : results) *= x[d];
    // About a thousand blocks of at least 4096 elements for each of their results.
    parts =
        std::clamp<int64_t>(std::min(1024 / std::max<int64_t>(results, 1), count / 4096), 1, 64);
  }
  int64_t part() const { return (count + parts - 1) / parts; }

  absl::InlinedVector<bool, 6> reduced;
  int64_t results = 1, count = 1, parts = 1;
};

}  // namespace weft
