// Matrix products of strided matrices on the CPU: the one door to oneDNN. Everything that
// multiplies matrices (einsum, attention, head_cross_entropy) comes through here.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "runtime/dtype.h"

namespace weft {

// A matrix in memory of its user; strides in elements, of which at least one is 1 (the stride of a
// dimension of extent 1 is not read), and the other at least the extent along the first.
template <typename T>
struct Matrix {
  T* data = nullptr;
  int64_t row_stride = 0;
  int64_t col_stride = 1;
};

// Extents of C[m,n] = A[m,k] B[k,n].
struct GemmSize {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
};

// C = alpha A B, or C += alpha A B if `accumulate`. Any extent may be 0 (k = 0 gives zeros). Any
// thread may call; states such as compiled primitives are per thread. Internal if oneDNN refuses.
// f32 by dnnl_sgemm; bf16 operands by oneDNN's matmul (f32 sums); f16 operands widened to f32, in
// which sums are formed; f64 by plain loops.
absl::Status Gemm(GemmSize size, double alpha, Matrix<const float> a, Matrix<const float> b,
                  bool accumulate, Matrix<float> c);
absl::Status Gemm(GemmSize size, double alpha, Matrix<const BFloat16> a, Matrix<const BFloat16> b,
                  bool accumulate, Matrix<BFloat16> c);
absl::Status Gemm(GemmSize size, double alpha, Matrix<const BFloat16> a, Matrix<const BFloat16> b,
                  bool accumulate, Matrix<float> c);
absl::Status Gemm(GemmSize size, double alpha, Matrix<const Float16> a, Matrix<const Float16> b,
                  bool accumulate, Matrix<Float16> c);
absl::Status Gemm(GemmSize size, double alpha, Matrix<const Float16> a, Matrix<const Float16> b,
                  bool accumulate, Matrix<float> c);
absl::Status Gemm(GemmSize size, double alpha, Matrix<const double> a, Matrix<const double> b,
                  bool accumulate, Matrix<double> c);

}  // namespace weft
