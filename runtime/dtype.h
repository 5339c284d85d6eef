// Element types of tensors, and the 16-bit floats that C++20 lacks.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace weft {

enum class DType : uint8_t { kF32, kF64, kBF16, kF16, kI32, kI64, kU8, kBool };

// Bytes of one element.
int64_t SizeOf(DType dtype);
// Lower-case name: "f32", "bf16", "bool", ...
std::string_view Name(DType dtype);
// Reads what Name prints; InvalidArgument lists the known names.
absl::StatusOr<DType> ParseDType(std::string_view name);
// Whether values are floating point (f16, bf16, f32, f64).
bool IsFloat(DType dtype);

// bfloat16: the upper half of an fp32, rounded to nearest even. NaN stays NaN.
struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  explicit BFloat16(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
      bits = static_cast<uint16_t>((u >> 16) | 0x40u);
    } else {
      bits = static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
  }
  explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

// IEEE binary16, rounded to nearest even.
struct Float16 {
  uint16_t bits = 0;
  Float16() = default;
  explicit Float16(float value);
  explicit operator float() const;
};

}  // namespace weft
