// Sbp: what one mesh axis does to one tensor. Split along a dimension, broadcast (every rank holds
// all), or partial (the ranks' values combine to the tensor by a commutative monoid).
// After OneFlow (arXiv 2110.15032, section 3), with named monoids and the index order in the split.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/monoid.h"

namespace weft {

// Which logical indices the parts of a split take. kContiguous: the first n mod p parts one extra.
// kZigzag: 2p contiguous chunks, part r holds chunks r and 2p-1-r (balances causal attention).
enum class IndexOrder : uint8_t { kContiguous, kZigzag };

// Which part of a split a rank holds: that of its own coordinate, or, as parts travel around a ring
// (parallel/unroll_rings.h), another's.
struct Turn {
  int16_t steps = 0;   // coordinate r holds part r + steps, counted modulo the number of parts
  int32_t reach = -1;  // >= 0: parts do not wrap around, and of another's part only the indices
                       // are held that are at most so far from the rank's own (contiguous only)

  bool is_own() const { return steps == 0; }
  friend bool operator==(const Turn&, const Turn&) = default;
};

class Sbp {
 public:
  enum class Kind : uint8_t { kSplit, kBroadcast, kPartial };

  Sbp() = default;  // broadcast
  static Sbp S(int dim, IndexOrder order = IndexOrder::kContiguous) {
    Sbp s;
    s.kind_ = Kind::kSplit;
    s.dim_ = static_cast<int8_t>(dim);
    s.order_ = order;
    return s;
  }
  // A split whose parts have moved on.
  static Sbp Turned(Sbp split, Turn turn) {
    split.turn_ = turn;
    return split;
  }
  static Sbp B() { return Sbp(); }
  static Sbp P(Monoid monoid = Monoid::kSum) {
    Sbp s;
    s.kind_ = Kind::kPartial;
    s.monoid_ = monoid;
    return s;
  }

  Kind kind() const { return kind_; }
  bool is_split() const { return kind_ == Kind::kSplit; }
  bool is_split(int dim) const { return is_split() && dim_ == dim; }
  bool is_broadcast() const { return kind_ == Kind::kBroadcast; }
  bool is_partial() const { return kind_ == Kind::kPartial; }
  int dim() const { return dim_; }             // of a split
  IndexOrder order() const { return order_; }  // of a split
  Turn turn() const { return turn_; }          // of a split
  Monoid monoid() const { return monoid_; }    // of a partial

  // "S(0)", "S(1; zigzag)", "S(1; turn 2)", "S(1; turn -1; reach 63)", "B", "P(sum)".
  std::string ToString() const;
  // Reads what ToString prints.
  static absl::StatusOr<Sbp> Parse(std::string_view text);
  friend bool operator==(const Sbp&, const Sbp&) = default;

 private:
  static bool ParseOption(std::string_view text, Sbp& split);

  Kind kind_ = Kind::kBroadcast;
  int8_t dim_ = 0;
  IndexOrder order_ = IndexOrder::kContiguous;
  Monoid monoid_ = Monoid::kSum;
  Turn turn_;
};

}  // namespace weft
