// How a contraction of two tensors becomes matrix products: labels with even strides are merged into
// one batch of (M, N, K), so that the products read and write the tensors in place. Where strides do
// not merge, an operand goes through a packed copy.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace weft {

// "bsh,hnd->bsnd" in parts; the views live as long as the text.
struct EinsumEquation {
  std::string_view a, b, out;
};

// InvalidArgument if `text` is not two operands and a result of distinct letters each, or if the
// result has a label that no operand has.
absl::StatusOr<EinsumEquation> ParseEinsum(std::string_view text);

// One dimension of an index space over A, B and C; strides in elements, 0 where an operand lacks it.
struct EinsumDim {
  int64_t extent = 1;
  int64_t a = 0;
  int64_t b = 0;
  int64_t c = 0;
};
using EinsumDims = absl::InlinedVector<EinsumDim, 6>;

// A copy of an operand, dense over `dims` in this order; `stride` is that of the operand.
struct EinsumPacking {
  struct Dim {
    int64_t extent;
    int64_t stride;
  };
  bool used = false;
  absl::InlinedVector<Dim, 6> dims;
  int64_t elements = 0;
};

struct EinsumPlan {
  EinsumDims batch;       // looped over; strides in the packed copy where there is one
  EinsumDim m, n, k;      // merged; stride 1 where the extent is 1
  EinsumPacking a, b, c;  // c is computed packed, then scattered
  bool empty = false;     // some extent is 0
};

// The plan with the fewest packed elements for operands of these (local) shapes. Sum labels of one
// operand alone are legal: the other is packed, repeated along them. Never fails on shapes that
// the op's infer function takes.
EinsumPlan PlanEinsum(const EinsumEquation& equation, absl::Span<const int64_t> a_shape,
                      absl::Span<const int64_t> b_shape);

}  // namespace weft
