// What the tables of op rows are written with: operands, and rows that differ in layouts alone.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/host_tensor.h"
#include "tests/system/op_rows.h"

namespace weft::testing {

using Ints = std::vector<int64_t>;

// Values that every float type holds exactly, and so are their small sums and products.
inline HostTensor X(Shape shape, uint64_t seed = 1, DType dtype = DType::kF32) {
  return Sixteenths({std::move(shape), dtype}, seed);
}

// Values that all differ, for maxima.
inline HostTensor Distinct(Shape shape) {
  HostTensor x = X(std::move(shape));
  for (size_t i = 0; i < x.values.size(); ++i) {
    x.values[i] = static_cast<double>(i * 37 % 211) / 16 - 3;
  }
  return x;
}

// Three values only, so that most maxima are there more than once.
inline HostTensor Tied(Shape shape) {
  HostTensor x = X(std::move(shape));
  for (size_t i = 0; i < x.values.size(); ++i) {
    x.values[i] = static_cast<double>(HashOf(5, i) % 3) - 1;
  }
  return x;
}

inline HostTensor Indices(Shape shape, int low, int high) {
  HostTensor x = Sixteenths({std::move(shape), DType::kI32}, 7);
  for (size_t i = 0; i < x.values.size(); ++i) {
    x.values[i] = low + static_cast<double>(HashOf(9, i) % (high - low));
  }
  return x;
}

// Rows of one op on the same operands.
class Rows {
 public:
  explicit Rows(OpRow like) : like_(std::move(like)) {}
  // Conversions, if there are any, are those of operands that no signature takes.
  void Add(std::string in, std::string out, std::string grads,
           std::vector<std::string> conversions = {}, int64_t bytes = -1) {
    AddConverting(std::move(in), std::move(out), std::move(grads), std::move(conversions));
    all_.back().illegal = !all_.back().conversions.empty();
    all_.back().bytes = bytes;
  }
  // A signature of the op, whose gradient needs conversions.
  void AddConverting(std::string in, std::string out, std::string grads,
                     std::vector<std::string> conversions) {
    OpRow row = like_;
    row.in = std::move(in);
    row.out = std::move(out);
    row.grads = std::move(grads);
    row.conversions = std::move(conversions);
    all_.push_back(std::move(row));
  }
  void AppendTo(std::vector<OpRow>& all) && {
    for (OpRow& row : all_) all.push_back(std::move(row));
  }

 private:
  const OpRow like_;
  std::vector<OpRow> all_;
};

}  // namespace weft::testing
