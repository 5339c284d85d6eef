// Cutting logical host tensors to what each rank of a grid holds under a layout, partial layouts
// included, and joining the ranks' parts again: the oracle of everything that runs on a mesh.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "graph/layout.h"
#include "tests/support/host_tensor.h"

namespace weft::testing {

// A layout on a grid whose axes have these sizes, first major.
struct GridLayout {
  std::vector<Sbp> sbps;
  std::vector<int> sizes;

  int ranks() const {
    int n = 1;
    for (int size : sizes) n *= size;
    return n;
  }
  std::vector<int> CoordinatesOf(int rank) const {
    std::vector<int> at(sizes.size());
    for (int a = static_cast<int>(sizes.size()) - 1; a >= 0; --a) {
      at[a] = rank % sizes[a];
      rank /= sizes[a];
    }
    return at;
  }
};

inline GridLayout GridLayoutOf(const Layout& layout, const Mesh& mesh) {
  GridLayout grid{{layout.begin(), layout.end()}, {}};
  for (const Mesh::Axis& axis : mesh.axes()) grid.sizes.push_back(axis.size);
  return grid;
}

inline Box BoxAt(const TensorSpec& spec, const GridLayout& layout, int rank) {
  const std::vector<int> at = layout.CoordinatesOf(rank);
  Box box = Box::Whole(spec.shape);
  for (size_t a = 0; a < at.size(); ++a) {
    if (!layout.sbps[a].is_split()) continue;
    IndexSet& dim = box.dims[layout.sbps[a].dim()];
    dim = PartOf(dim, at[a], layout.sizes[a], layout.sbps[a].order());
  }
  return box;
}

// Which of `count` summands of the partial axes a rank holds.
struct Summand {
  int index = 0;
  int count = 1;
  Monoid monoid = Monoid::kSum;
};

inline Summand SummandAt(const GridLayout& layout, int rank) {
  const std::vector<int> at = layout.CoordinatesOf(rank);
  Summand summand;
  for (size_t a = 0; a < at.size(); ++a) {
    if (!layout.sbps[a].is_partial()) continue;
    summand.index = summand.index * layout.sizes[a] + at[a];
    summand.count *= layout.sizes[a];
    summand.monoid = layout.sbps[a].monoid();
  }
  return summand;
}

// Sums: multiples of 1/16 whose last makes up the rest. Maxima: the value at one part, less
// elsewhere. Logaddexp: equal shares.
inline double SummandOf(double x, const Summand& summand, uint64_t seed, int64_t i) {
  if (summand.count == 1) return x;
  auto random = [&](int part) {
    return static_cast<double>(HashOf(seed + 977 * (part + 1), i) % 33) / 16 - 1;
  };
  switch (summand.monoid) {
    case Monoid::kSum:
      if (summand.index + 1 < summand.count) return random(summand.index);
      for (int part = 0; part + 1 < summand.count; ++part) x -= random(part);
      return x;
    case Monoid::kMax: {
      const bool holds = static_cast<int>(HashOf(seed, i) % summand.count) == summand.index;
      return holds ? x : x - 1 - std::abs(random(summand.index));
    }
    case Monoid::kLogAddExp: return x - std::log(summand.count);
  }
  return x;
}

inline double CombineOf(Monoid monoid, double a, double b) {
  switch (monoid) {
    case Monoid::kSum: return a + b;
    case Monoid::kMax: return std::max(a, b);
    case Monoid::kLogAddExp: {
      const double high = std::max(a, b);
      return std::isinf(high) ? high : high + std::log1p(std::exp(-std::abs(a - b)));
    }
  }
  return 0;
}

// What the rank holds of the whole tensor x; `seed` chooses the summands of a partial layout.
inline HostTensor PartAt(const HostTensor& x, const GridLayout& layout, int rank, uint64_t seed) {
  if (x.absent()) return x;
  const Summand summand = SummandAt(layout, rank);
  HostTensor part = x;
  for (size_t e = 0; e < part.values.size(); ++e) {
    part.values[e] = SummandOf(part.values[e], summand, seed, static_cast<int64_t>(e));
  }
  return Cut(part, BoxAt(x.spec, layout, rank));
}

// The parts of all ranks, in rank order, as one tensor. Internal if copies of a broadcast axis
// differ in a bit, or an element is there too seldom or too often.
inline absl::StatusOr<HostTensor> Join(const TensorSpec& spec, const GridLayout& layout,
                                       const std::vector<HostTensor>& parts) {
  HostTensor whole = Whole(spec, std::vector<double>(spec.elements()));
  std::vector<int> writes(spec.elements(), 0);
  int expected = 1;
  for (int rank = 0; rank < static_cast<int>(parts.size()); ++rank) {
    const std::vector<int> at = layout.CoordinatesOf(rank);
    int first = 0;  // the rank at coordinate 0 of the broadcast axes
    for (size_t a = 0; a < at.size(); ++a) {
      first = first * layout.sizes[a] + (layout.sbps[a].is_broadcast() ? 0 : at[a]);
    }
    if (first != rank) {
      if (parts[rank].values != parts[first].values) {
        return absl::InternalError(absl::StrCat("copies differ: ranks ", first, " and ", rank));
      }
      continue;
    }
    const Summand summand = SummandAt(layout, rank);
    expected = summand.count;
    ForEachElement(parts[rank].box, spec.shape, [&](int64_t local, int64_t logical) {
      const double value = parts[rank].values[local];
      double& to = whole.values[logical];
      to = writes[logical]++ == 0 ? value : CombineOf(summand.monoid, to, value);
    });
  }
  for (int n : writes) {
    if (n != expected) return absl::InternalError(absl::StrCat("an element is made ", n, " times"));
  }
  return whole;
}

}  // namespace weft::testing
