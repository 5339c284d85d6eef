#include "kernels/product_algorithms.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/dtype.h"

namespace weft {
namespace {

// What is this close is the same.
constexpr double kTie = 1.01;
// Operations of a product that takes some ten microseconds on the matrix units of an H200, and on
// its other units.
constexpr double kLeastFlops = 1e10;
constexpr double kLeastWideFlops = 1e9;

}  // namespace

double ProductKey::flops() const {
  double flops = 2;
  for (const Field field : {kM, kN, kK, kBatch}) flops *= static_cast<double>(values[field]);
  return flops;
}

std::string ProductKey::ToString() const {
  const ProductKey& key = *this;
  const std::string operands(key[kTf32] != 0 ? "tf32" : Name(static_cast<DType>(key[kOperands])));
  const std::string result(Name(static_cast<DType>(key[kResult])));
  return absl::StrCat(key[kM], " x ", key[kN], " x ", key[kK],
                      key[kBatch] == 1 ? "" : absl::StrCat(", ", key[kBatch], " times"), ", ",
                      operands, (key[kTransposed] & 1) != 0 ? "' " : " ", operands,
                      (key[kTransposed] & 2) != 0 ? "'" : "", " to ", result,
                      key[kAdds] != 0 ? ", adds" : "");
}

bool WorthMeasuring(const ProductKey& key) {
  const auto operands = static_cast<DType>(key[ProductKey::kOperands]);
  const bool wide = SizeOf(operands) >= 4 && key[ProductKey::kTf32] == 0;
  return key.flops() >= (wide ? kLeastWideFlops : kLeastFlops);
}

int FastestCandidate(absl::Span<const double> seconds) {
  const auto least = std::min_element(seconds.begin(), seconds.end());
  if (least == seconds.end() || !std::isfinite(*least)) return -1;
  const auto kept =
      std::find_if(seconds.begin(), seconds.end(), [&](double s) { return s <= *least * kTie; });
  return static_cast<int>(kept - seconds.begin());
}

}  // namespace weft
