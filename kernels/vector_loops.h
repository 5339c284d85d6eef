// The plain dense loops over f32, bf16 and f16 that every step runs over every parameter or
// activation, in the widest SIMD of the machine (Highway, chosen at run time). Buffers may be
// unaligned; `y` may be an operand itself.
#pragma once

#include <cstdint>

#include "runtime/dtype.h"

namespace weft {

// y[i] = a[i] + b[i].
void AddLoop(const float* a, const float* b, float* y, int64_t n);
void AddLoop(const BFloat16* a, const BFloat16* b, BFloat16* y, int64_t n);
void AddLoop(const Float16* a, const Float16* b, Float16* y, int64_t n);
void AddLoop(const double* a, const double* b, double* y, int64_t n);
// y[i] = x[i], rounded to nearest even. `y` must not be x.
void CastLoop(const float* x, BFloat16* y, int64_t n);
void CastLoop(const BFloat16* x, float* y, int64_t n);
void CastLoop(const float* x, Float16* y, int64_t n);
void CastLoop(const Float16* x, float* y, int64_t n);
// Sum of x[i]^2 in f64, by tiles of kSquaresTile elements added in order.
inline constexpr int64_t kSquaresTile = 4096;
double SumSquaresLoop(const float* x, int64_t n);
double SumSquaresLoop(const BFloat16* x, int64_t n);
double SumSquaresLoop(const Float16* x, int64_t n);
double SumSquaresLoop(const double* x, int64_t n);

}  // namespace weft
