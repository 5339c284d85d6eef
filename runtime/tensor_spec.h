// TensorSpec: what a tensor is (shape and dtype), without where it lies.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "runtime/dtype.h"

namespace weft {

// Extents in elements, outermost first; rank 0 is a scalar; extents may be 0.
using Shape = absl::InlinedVector<int64_t, 6>;

// Product of the extents (1 for a scalar).
int64_t NumElements(absl::Span<const int64_t> shape);
// "[4,3]".
std::string ToString(absl::Span<const int64_t> shape);

// A value type: logical or local shape with its element type.
struct TensorSpec {
  Shape shape;
  DType dtype = DType::kF32;

  int rank() const { return static_cast<int>(shape.size()); }
  int64_t elements() const { return NumElements(shape); }
  int64_t bytes() const { return elements() * SizeOf(dtype); }
  // "f32[4,3]".
  std::string ToString() const;

  friend bool operator==(const TensorSpec& a, const TensorSpec& b) {
    return a.dtype == b.dtype && a.shape == b.shape;
  }
};

}  // namespace weft
