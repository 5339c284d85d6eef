// What a conversion may cost in bytes: OneFlow's table (arXiv 2110.15032, table 2) carried over to
// several mesh axes, uneven splits and any two meshes. Counted from the host's account of what
// ranks hold, so that it knows nothing of the planner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <vector>

#include "tests/support/reshard_case.h"

namespace weft::testing {

class BytesBound {
 public:
  static int64_t Of(const TensorSpec& spec, const Lying& from, const Lying& to) {
    const BytesBound bound(spec, from, to);
    int64_t elements = bound.BetweenAny();
    if (!HasPartial(from) && !HasPartial(to)) elements = std::min(elements, bound.Missing());
    if (from.mesh == to.mesh) elements = std::min(elements, bound.AxisByAxis());
    return elements * SizeOf(spec.dtype);
  }

 private:
  BytesBound(const TensorSpec& spec, const Lying& from, const Lying& to)
      : spec_(spec), from_(from), to_(to) {}

  static bool HasPartial(const Lying& lying) {
    for (int a = 0; a < lying.mesh.num_axes(); ++a) {
      if (IsPartialOn(lying, a)) return true;
    }
    return false;
  }
  // How many of a's elements b lacks.
  static int64_t Lacks(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
    std::vector<int64_t> lacking;
    std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(lacking));
    return static_cast<int64_t>(lacking.size());
  }

  // The column "disjoint": copies are combined in one place, and every replica gets the result.
  int64_t BetweenAny() const {
    int64_t copies = 1, replicas = 1;
    for (int a = 0; a < from_.mesh.num_axes(); ++a) {
      if (IsPartialOn(from_, a)) copies *= from_.mesh.axes()[a].size;
    }
    for (int a = 0; a < to_.mesh.num_axes(); ++a) {
      if (to_.layout[a].is_broadcast()) replicas *= to_.mesh.axes()[a].size;
    }
    return (copies - 1 + replicas) * spec_.elements();
  }
  // Nothing to combine: every rank receives what it lacks.
  int64_t Missing() const {
    int64_t elements = 0;
    for (int t = 0; t < to_.mesh.size(); ++t) {
      const int own = from_.mesh.IndexOf(to_.mesh.ranks()[t]);
      const std::vector<int64_t> held =
          own < 0 ? std::vector<int64_t>() : HeldPositions(spec_, from_, own);
      elements += Lacks(HeldPositions(spec_, to_, t), held);
    }
    return elements;
  }
  // The column "same", one axis after the other, in the best order.
  int64_t AxisByAxis() const {
    std::vector<int> order(from_.mesh.num_axes());
    std::iota(order.begin(), order.end(), 0);
    int64_t least = BetweenAny();
    do {
      Lying at = from_;
      int64_t elements = 0;
      bool possible = true;
      for (int a : order) {
        possible = possible && MayChange(at, a);
        elements += Change(at, a);
      }
      if (possible) least = std::min(least, elements);
    } while (std::next_permutation(order.begin(), order.end()));
    return least;
  }
  bool MayChange(const Lying& at, int axis) const {
    if (!IsPartialOn(at, axis) || at.layout[axis] == to_.layout[axis]) return true;
    for (int a = axis + 1; a < at.mesh.num_axes(); ++a) {
      if (IsPartialOn(at, a) && at.layout[a] != at.layout[axis]) return false;
    }
    return true;
  }
  // Elements to bring one axis to its end.
  int64_t Change(Lying& at, int axis) const {
    const int64_t p = at.mesh.axes()[axis].size;
    if (p == 1 || at.layout[axis] == to_.layout[axis]) return 0;
    const Lying before = at;
    at.layout[axis] = to_.layout[axis];
    int64_t elements = 0;
    for (int m = 0; m < at.mesh.size(); ++m) {
      const std::vector<int64_t> old = HeldPositions(spec_, before, m);
      const std::vector<int64_t> now = HeldPositions(spec_, at, m);
      const auto size = static_cast<int64_t>(now.size());
      if (!IsPartialOn(before, axis)) {
        elements += IsPartialOn(at, axis) ? Lacks(old, now) : Lacks(now, old);
      } else if (at.layout[axis].is_split()) {
        elements += (p - 1) * size + Lacks(now, old);
      } else if (at.mesh.Coordinate(m, axis) == 0) {  // the members of a line hold the same
        elements += (at.layout[axis].is_broadcast() ? 2 : 1) * (p - 1) * size;
      }
    }
    return elements;
  }

  const TensorSpec& spec_;
  const Lying& from_;
  const Lying& to_;
};

}  // namespace weft::testing
