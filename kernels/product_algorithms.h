// Which algorithm of the library does which matrix product: what was found by measuring, so that
// ranks can share it and a file can keep it. Needs no GPU.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "absl/types/span.h"

namespace weft {

// A matrix product as the library sees it: first [m, k] times second [k, n] into result [m, n], all
// stored by columns, `batch` times; everything that the choice of an algorithm depends on.
struct ProductKey {
  enum Field : int {
    kM,
    kN,
    kK,
    kBatch,
    kFirstLd,  // elements from column to column as stored
    kSecondLd,
    kResultLd,
    kFirstBatch,  // elements from matrix to matrix
    kSecondBatch,
    kResultBatch,
    kFirstAlignment,  // bytes: the largest power of two that divides all addresses, at most 256
    kSecondAlignment,
    kResultAlignment,
    kAddendAlignment,  // of what is added, stored as the result; else the result's
    kOperands,         // DType
    kResult,           // DType
    kTransposed,       // 1: first is stored transposed; 2: second is
    kTf32,
    kAdds,             // to something else
    kDeterministic,    // partial sums never meet in the result
    kWorkspace,        // bytes, at most
    kMultiprocessors,  // that the product may use
    kFields
  };
  static constexpr std::array<std::string_view, kFields> kNames = {"m",
                                                                   "n",
                                                                   "k",
                                                                   "batch",
                                                                   "first_ld",
                                                                   "second_ld",
                                                                   "result_ld",
                                                                   "first_batch",
                                                                   "second_batch",
                                                                   "result_batch",
                                                                   "first_alignment",
                                                                   "second_alignment",
                                                                   "result_alignment",
                                                                   "addend_alignment",
                                                                   "operands",
                                                                   "result",
                                                                   "transposed",
                                                                   "tf32",
                                                                   "adds",
                                                                   "deterministic",
                                                                   "workspace",
                                                                   "multiprocessors"};

  std::array<int64_t, kFields> values{};

  int64_t operator[](Field field) const { return values[field]; }
  int64_t& operator[](Field field) { return values[field]; }
  friend auto operator<=>(const ProductKey&, const ProductKey&) = default;

  double flops() const;
  // "16384 x 5632 x 2048, bf16 bf16' to f32, adds".
  std::string ToString() const;
};
using ProductSet = std::set<ProductKey>;

// An algorithm in the library's own form, which only the same version of it on the same kind of GPU
// understands.
struct ProductAlgorithm {
  std::array<uint64_t, 8> words{};
  int64_t workspace_bytes = 0;
  // As measured: of this algorithm, and of the library's first guess.
  double seconds = 0;
  double first_seconds = 0;
  friend bool operator==(const ProductAlgorithm&, const ProductAlgorithm&) = default;
};
using ProductAlgorithms = std::map<ProductKey, ProductAlgorithm>;

// Whether a product lasts long enough for its time to be its own and not the host's that starts it,
// some ten microseconds on a fast GPU.
bool WorthMeasuring(const ProductKey& key);

// The candidate to keep: the earliest whose time is at most one percent above the least, so that
// noise does not choose. Infinity is one that does not work; -1 if none does.
int FastestCandidate(absl::Span<const double> seconds);

}  // namespace weft
