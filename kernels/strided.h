// Walks an index space over several operands with strides of their own: broadcasting, transposes,
// slices and reductions are all strides. No allocation.
#pragma once

#include <array>
#include <cstdint>

#include "absl/types/span.h"
#include "runtime/kernel.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Strides in elements of a dense row-major tensor.
inline Shape DenseStrides(absl::Span<const int64_t> shape) {
  Shape strides(shape.size(), 1);
  for (int d = static_cast<int>(shape.size()) - 2; d >= 0; --d) {
    strides[d] = strides[d + 1] * shape[d + 1];
  }
  return strides;
}

// Strides with which `operand` is read over the dimensions of `out`, aligned at the right; 0 where
// it is broadcast. Extent 1 is judged on logical shapes: a local extent may be 1 by a split.
inline Shape BroadcastStrides(const Operand& operand, const Operand& out) {
  const Shape dense = DenseStrides(operand.shape);
  Shape strides(out.shape.size(), 0);
  const size_t skip = out.shape.size() - operand.shape.size();
  for (size_t d = 0; d < operand.shape.size(); ++d) {
    if (operand.logical->shape[d] == out.logical->shape[d + skip]) strides[d + skip] = dense[d];
  }
  return strides;
}

// Calls f(offsets, strides, n) for each innermost row of `shape`: element i of operand k lies at
// offsets[k] + i * strides[k]. Dimensions that all operands step through evenly are merged, so that
// equal dense shapes are one row. A scalar is one row of 1; an empty shape has none.
template <int kOperands, typename F>
void ForEachRow(absl::Span<const int64_t> shape, const std::array<Shape, kOperands>& strides,
                F&& f) {
  using Offsets = std::array<int64_t, kOperands>;
  Shape extents;
  absl::InlinedVector<Offsets, 6> steps;  // per merged dimension, innermost last
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0) return;
    if (shape[d] == 1) continue;
    Offsets step;
    bool merges = !extents.empty();
    for (int k = 0; k < kOperands; ++k) {
      step[k] = strides[k][d];
      merges = merges && steps.back()[k] == step[k] * shape[d];
    }
    if (merges) {
      extents.back() *= shape[d];
      steps.back() = step;
    } else {
      extents.push_back(shape[d]);
      steps.push_back(step);
    }
  }
  Offsets offsets{};
  if (extents.empty()) {
    f(offsets, Offsets{}, int64_t{1});
    return;
  }
  const int outer = static_cast<int>(extents.size()) - 1;
  Shape index(outer, 0);
  while (true) {
    f(offsets, steps[outer], extents[outer]);
    int d = outer - 1;
    for (; d >= 0; --d) {
      for (int k = 0; k < kOperands; ++k) offsets[k] += steps[d][k];
      if (++index[d] < extents[d]) break;
      for (int k = 0; k < kOperands; ++k) offsets[k] -= steps[d][k] * extents[d];
      index[d] = 0;
    }
    if (d < 0) return;
  }
}

}  // namespace weft
