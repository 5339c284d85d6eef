// What the ops that only move elements (reshape, transpose, slice, concat, ...) have in common.
#pragma once

#include <array>
#include <cstring>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "graph/op_def.h"
#include "kernels/strided.h"

namespace weft {

// The partial forms that any copy of elements keeps: sums of copies are copies of sums, and so on.
inline void AddMovementLinearity(FactorMap& map, std::vector<int> inputs) {
  map.linear.push_back({.monoid = Monoid::kSum, .inputs = inputs});
  map.linear.push_back({.monoid = Monoid::kMax, .inputs = std::move(inputs)});
}

// Each result element read once and written once.
inline Cost MovementCost(const CostContext& c) {
  return {.flops = 0, .bytes = static_cast<double>(c.bytes()) + 1};
}

// Calls f(T()) with an unsigned type of the given size: bits are moved, not numbers.
template <typename F>
absl::Status DispatchSize(int64_t bytes, F&& f) {
  switch (bytes) {
    case 1: f(uint8_t()); return absl::OkStatus();
    case 2: f(uint16_t()); return absl::OkStatus();
    case 4: f(uint32_t()); return absl::OkStatus();
    case 8: f(uint64_t()); return absl::OkStatus();
    default: return absl::UnimplementedError(absl::StrCat("elements of ", bytes, " bytes"));
  }
}

// to[strided] = from[strided] over `shape`.
template <typename T>
void CopyStrided(const T* from, const Shape& from_strides, T* to, const Shape& to_strides,
                 absl::Span<const int64_t> shape) {
  ForEachRow<2>(shape, {from_strides, to_strides},
                [&](const auto& at, const auto& step, int64_t n) {
                  const T* source = from + at[0];
                  T* target = to + at[1];
                  if (step[0] == 1 && step[1] == 1) {
                    if (source != target) std::memmove(target, source, n * sizeof(T));
                    return;
                  }
                  for (int64_t i = 0; i < n; ++i) target[i * step[1]] = source[i * step[0]];
                });
}

}  // namespace weft
