// From a DType known at run time to a C++ element type. bf16 and f16 are stored, never computed in.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/dtype.h"

namespace weft {

// The type in which elements of T are computed.
template <typename T>
struct ArithmeticType {
  using type = T;
};
template <>
struct ArithmeticType<BFloat16> {
  using type = float;
};
template <>
struct ArithmeticType<Float16> {
  using type = float;
};
template <typename T>
using ArithmeticOf = typename ArithmeticType<T>::type;

template <typename T>
ArithmeticOf<T> Load(T value) {
  return static_cast<ArithmeticOf<T>>(value);
}

// Whether values of `dtype` are stored in 16 bits and computed with in f32.
inline bool IsHalf(DType dtype) { return dtype == DType::kBF16 || dtype == DType::kF16; }

// Calls f(T()) with the element type of a float dtype.
template <typename F>
absl::Status DispatchFloat(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32: f(float()); return absl::OkStatus();
    case DType::kBF16: f(BFloat16()); return absl::OkStatus();
    case DType::kF16: f(Float16()); return absl::OkStatus();
    case DType::kF64: f(double()); return absl::OkStatus();
    default:
      return absl::UnimplementedError(absl::StrCat("no CPU kernel for ", std::string(Name(dtype)),
                                                   "; cast to f32, bf16, f16 or f64"));
  }
}

// As DispatchFloat, for ops that only move or compare elements, over every dtype.
template <typename F>
absl::Status DispatchAny(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32: f(float()); break;
    case DType::kF64: f(double()); break;
    case DType::kBF16: f(BFloat16()); break;
    case DType::kF16: f(Float16()); break;
    case DType::kI32: f(int32_t()); break;
    case DType::kI64: f(int64_t()); break;
    case DType::kU8: f(uint8_t()); break;
    case DType::kBool: f(bool()); break;
  }
  return absl::OkStatus();
}

}  // namespace weft
