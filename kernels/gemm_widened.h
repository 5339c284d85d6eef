// Products of 16-bit floats for which oneDNN has no primitive on this CPU: f32 products of widened
// pieces.
#pragma once

#include "absl/status/status.h"
#include "kernels/gemm.h"

namespace weft {

// As Gemm of such operands, for extents above 0 only; C is of their type or f32. Sums are formed in
// f32. Memory for the pieces, 12 MB at most, belongs to the thread.
absl::Status GemmWidened(GemmSize size, double alpha, Matrix<const BFloat16> a,
                         Matrix<const BFloat16> b, bool accumulate, Matrix<BFloat16> c);
absl::Status GemmWidened(GemmSize size, double alpha, Matrix<const BFloat16> a,
                         Matrix<const BFloat16> b, bool accumulate, Matrix<float> c);
absl::Status GemmWidened(GemmSize size, double alpha, Matrix<const Float16> a,
                         Matrix<const Float16> b, bool accumulate, Matrix<Float16> c);
absl::Status GemmWidened(GemmSize size, double alpha, Matrix<const Float16> a,
                         Matrix<const Float16> b, bool accumulate, Matrix<float> c);

}  // namespace weft
