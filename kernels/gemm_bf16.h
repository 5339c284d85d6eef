// The bf16 half of Gemm: oneDNN's matmul primitives, compiled once per shape and thread; f32
// products of widened operands on CPUs for which oneDNN has none.
#pragma once

#include "absl/status/status.h"
#include "kernels/gemm.h"

namespace weft {

// As Gemm of bf16 operands, for extents above 0 only; C is bf16 or f32.
absl::Status GemmBF16(GemmSize size, double alpha, Matrix<const BFloat16> a,
                      Matrix<const BFloat16> b, bool accumulate, Matrix<BFloat16> c);
absl::Status GemmBF16(GemmSize size, double alpha, Matrix<const BFloat16> a,
                      Matrix<const BFloat16> b, bool accumulate, Matrix<float> c);

}  // namespace weft
