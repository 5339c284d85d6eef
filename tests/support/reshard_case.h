// ReshardCase: one conversion of a conformance table, and the host's own account of it: what every
// rank holds under a layout, by the definition of layouts and not by weft's boxes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/layout.h"
#include "graph/mesh.h"
#include "runtime/dtype.h"
#include "runtime/tensor_spec.h"

namespace weft::testing {

// A layout on a mesh.
struct Lying {
  Layout layout;
  Mesh mesh;
};

struct ReshardCase {
  std::string row;  // of the table
  TensorSpec spec;
  std::vector<Lying> stops;  // from stops[0] by way of the others to the last

  const Lying& from() const { return stops.front(); }
  const Lying& to() const { return stops.back(); }
  std::string ToString() const {
    std::string text = absl::StrCat(row, ": ", spec.ToString());
    for (const Lying& stop : stops) {
      absl::StrAppend(&text, " ", stop.mesh.ToString(), " ",
                      weft::ToString(stop.layout, stop.mesh));
    }
    return text;
  }
};

inline bool IsPartialOn(const Lying& lying, int axis) {
  return lying.layout[axis].is_partial() && lying.mesh.axes()[axis].size > 1;
}

// Whether the layout may exist: P(sum) of bool and P(logaddexp) of integers may not.
inline bool IsLegal(const TensorSpec& spec, const Lying& lying) {
  for (const Sbp& sbp : lying.layout) {
    if (!sbp.is_partial()) continue;
    if (sbp.monoid() == Monoid::kSum && spec.dtype == DType::kBool) return false;
    if (sbp.monoid() == Monoid::kLogAddExp && !IsFloat(spec.dtype)) return false;
  }
  return true;
}

// The members of `whole` that part `part` of `parts` takes.
inline std::vector<int64_t> TakePart(const std::vector<int64_t>& whole, int part, int parts,
                                     bool zigzag) {
  const int chunks = zigzag ? 2 * parts : parts;
  const auto n = static_cast<int64_t>(whole.size());
  std::vector<int64_t> taken;
  int64_t next = 0;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const int64_t size = n / chunks + (chunk < n % chunks ? 1 : 0);
    const bool mine = chunk == part || (zigzag && chunk == chunks - 1 - part);
    for (int64_t i = 0; i < size; ++i, ++next) {
      if (mine) taken.push_back(whole[next]);
    }
  }
  return taken;
}

// Row-major logical positions of what the member at `index` of the mesh holds, in local order.
inline std::vector<int64_t> HeldPositions(const TensorSpec& spec, const Lying& lying, int index) {
  const int axes = lying.mesh.num_axes();
  std::vector<int> coordinates(axes);
  for (int a = axes - 1, rest = index; a >= 0; --a) {
    coordinates[a] = rest % lying.mesh.axes()[a].size;
    rest /= lying.mesh.axes()[a].size;
  }
  std::vector<int64_t> positions = {0};
  for (int d = 0; d < spec.rank(); ++d) {
    std::vector<int64_t> held(spec.shape[d]);
    for (int64_t i = 0; i < spec.shape[d]; ++i) held[i] = i;
    for (int a = 0; a < axes; ++a) {  // nested, the major axis first
      const Sbp& sbp = lying.layout[a];
      if (!sbp.is_split(d)) continue;
      held = TakePart(held, coordinates[a], lying.mesh.axes()[a].size,
                      sbp.order() == IndexOrder::kZigzag);
    }
    std::vector<int64_t> longer;
    longer.reserve(positions.size() * held.size());
    for (int64_t base : positions) {
      for (int64_t i : held) longer.push_back(base * spec.shape[d] + i);
    }
    positions = std::move(longer);
  }
  return positions;
}

inline double CombineTwo(Monoid monoid, double a, double b) {
  switch (monoid) {
    case Monoid::kSum: return a + b;
    case Monoid::kMax: return std::max(a, b);
    case Monoid::kLogAddExp: {
      if (a < b) std::swap(a, b);
      return std::isinf(a) ? a : a + std::log1p(std::exp(b - a));
    }
  }
  return 0;
}

// Logical values: small integers, exact in every type, all neighbours different.
inline std::vector<double> LogicalValues(const TensorSpec& spec) {
  std::vector<double> values(spec.elements());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = spec.dtype == DType::kBool ? static_cast<double>((i * 37 % 101) % 3 == 0)
                                           : static_cast<double>(i * 37 % 101) - 50;
  }
  return values;
}

// Copy `copy` of `copies` of the value x at position i. The copies differ, and combine to x.
inline double ShareOf(DType dtype, Monoid monoid, double x, int copy, int copies, int64_t i) {
  if (std::isinf(x)) return x;
  const auto noise = [i](int c) { return static_cast<double>((i * 5 + c * 3) % 11 - 4); };
  switch (monoid) {
    case Monoid::kSum:
      if (copy > 0) return noise(copy);
      for (int c = 1; c < copies; ++c) x -= noise(c);
      return x;
    case Monoid::kMax:
      if (i % copies == copy) return x;
      return dtype == DType::kBool ? (copy % 2 == 1 ? x : 0) : x - 1 - copy;
    case Monoid::kLogAddExp: return x + std::log(2.0 * (copy + 1) / (copies * (copies + 1)));
  }
  return 0;
}

// What the member at `index` holds of the values.
inline std::vector<double> PartOf(const std::vector<double>& values, const TensorSpec& spec,
                                  const Lying& lying, int index) {
  std::vector<double> part;
  for (int64_t position : HeldPositions(spec, lying, index)) {
    double x = values[position];
    for (int a = 0; a < lying.mesh.num_axes(); ++a) {
      if (!IsPartialOn(lying, a)) continue;
      x = ShareOf(spec.dtype, lying.layout[a].monoid(), x, lying.mesh.Coordinate(index, a),
                  lying.mesh.axes()[a].size, position + a);
    }
    part.push_back(x);
  }
  return part;
}

// How far a correct conversion may be from exact: logaddexp rounds, in the tensor's type.
inline double ToleranceOf(const ReshardCase& c) {
  bool rounds = false;
  for (int a = 0; a < c.from().mesh.num_axes(); ++a) {
    rounds =
        rounds || (IsPartialOn(c.from(), a) && c.from().layout[a].monoid() == Monoid::kLogAddExp);
  }
  if (!rounds) return 0;
  constexpr double kLargest = 64;  // of the values
  switch (c.spec.dtype) {
    case DType::kBF16: return kLargest / 64;
    case DType::kF16: return kLargest / 512;
    default: return kLargest * 1e-6;
  }
}

// Combines element `local` over the partial axes from `axis` on, the innermost first.
inline double WholeOf(const std::vector<std::vector<double>>& parts, const Lying& lying, int index,
                      int axis, size_t local) {
  while (axis < lying.mesh.num_axes() && !IsPartialOn(lying, axis)) ++axis;
  if (axis == lying.mesh.num_axes()) return parts[index][local];
  const std::vector<int> line = lying.mesh.Line(index, axis);
  double value = WholeOf(parts, lying, line[0], axis + 1, local);
  for (size_t k = 1; k < line.size(); ++k) {
    value = CombineTwo(lying.layout[axis].monoid(), value,
                       WholeOf(parts, lying, line[k], axis + 1, local));
  }
  return value;
}

// Whether parts[i], of the member at index i, are the case's logical values under its last layout:
// every rank's own part for splits and broadcasts, the combination of the copies for partials.
// Empty if so, else what is wrong where.
inline std::string WrongPart(const ReshardCase& c, const std::vector<std::vector<double>>& parts) {
  const std::vector<double> values = LogicalValues(c.spec);
  const double tolerance = ToleranceOf(c);
  std::vector<std::vector<int64_t>> held;
  for (int index = 0; index < c.to().mesh.size(); ++index) {
    held.push_back(HeldPositions(c.spec, c.to(), index));
    if (parts[index].size() != held[index].size()) {
      return absl::StrCat("rank ", c.to().mesh.ranks()[index], " holds ", parts[index].size(),
                          " elements, not ", held[index].size());
    }
  }
  for (int index = 0; index < c.to().mesh.size(); ++index) {
    for (size_t i = 0; i < held[index].size(); ++i) {
      const double x = WholeOf(parts, c.to(), index, 0, i);
      const double wanted = values[held[index][i]];
      if (!(std::abs(x - wanted) <= tolerance)) {
        return absl::StrCat("rank ", c.to().mesh.ranks()[index], " element ", i, ": ", x, ", not ",
                            wanted);
      }
    }
  }
  return "";
}

}  // namespace weft::testing
