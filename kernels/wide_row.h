// Rows in the type that sums are formed in (f32 for bf16 and f16), for kernels that compute row by
// row.
#pragma once

#include <cstdint>
#include <type_traits>

#include "absl/status/status.h"
#include "kernels/dispatch.h"
#include "kernels/vector_loops.h"
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace weft {

// The dtype of statistics (lse, inv_rms, ...) of values of `dtype`: f64 for f64, else f32.
inline DType WideDType(DType dtype) { return dtype == DType::kF64 ? DType::kF64 : DType::kF32; }

// to[i] = from[i], converted.
template <typename To, typename From>
void ConvertRow(To* to, const From* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<To>(Load(from[i]));
}
inline void ConvertRow(float* to, const BFloat16* from, int64_t n) { CastLoop(from, to, n); }
inline void ConvertRow(BFloat16* to, const float* from, int64_t n) { CastLoop(from, to, n); }
inline void ConvertRow(float* to, const Float16* from, int64_t n) { CastLoop(from, to, n); }
inline void ConvertRow(Float16* to, const float* from, int64_t n) { CastLoop(from, to, n); }

// The row as sums are formed: itself, or its conversion written to `scratch`.
template <typename T>
const ArithmeticOf<T>* WideRow(const T* row, int64_t n, ArithmeticOf<T>* scratch) {
  if constexpr (std::is_same_v<T, ArithmeticOf<T>>) {
    return row;
  } else {
    ConvertRow(scratch, row, n);
    return scratch;
  }
}

// DispatchFloat for functions that return a status.
template <typename F>
absl::Status RunForFloat(DType dtype, F&& f) {
  absl::Status status;
  WEFT_RETURN_IF_ERROR(DispatchFloat(dtype, [&](auto type) { status = f(type); }));
  return status;
}

}  // namespace weft
