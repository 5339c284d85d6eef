// Copies between strided layouts on the device: every op that only moves elements, and the packing
// of operands of matrix products.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "runtime/kernel.h"
#include "runtime/tensor_spec.h"

namespace weft {

// to[strided] = from[strided] over `shape`, elements of 1, 2, 4 or 8 bytes; strides in elements.
absl::Status CopyStridedCuda(const KernelContext& c, int64_t element_bytes, const void* from,
                             const Shape& from_strides, void* to, const Shape& to_strides,
                             absl::Span<const int64_t> shape);

// to[strided] += from[strided] over `shape`, of a float dtype.
absl::Status AddStridedCuda(const KernelContext& c, DType dtype, const void* from,
                            const Shape& from_strides, void* to, const Shape& to_strides,
                            absl::Span<const int64_t> shape);

}  // namespace weft
