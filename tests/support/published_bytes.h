// What OneFlow's paper says that a conversion sends (arXiv 2110.15032, table 2): total bytes over
// all devices, between layouts of one mesh axis that split evenly.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "tests/support/reshard_case.h"

namespace weft::testing {

// Empty where the table says nothing: other than one axis on each side, uneven splits, meshes that
// share some ranks but differ, partials that become others.
inline std::optional<int64_t> PublishedBytes(const TensorSpec& spec, const Lying& from,
                                             const Lying& to) {
  for (const Lying* end : {&from, &to}) {
    if (end->mesh.num_axes() != 1) return std::nullopt;
    const Sbp& sbp = end->layout[0];
    if (sbp.is_split() && spec.shape[sbp.dim()] % end->mesh.size() != 0) return std::nullopt;
    if (sbp.is_split() && sbp.order() == IndexOrder::kZigzag) return std::nullopt;
  }
  const Sbp &a = from.layout[0], &b = to.layout[0];
  if (a.is_partial() && b.is_partial() && a.monoid() != b.monoid()) return std::nullopt;
  const int64_t t = spec.bytes(), p1 = from.mesh.size(), p2 = to.mesh.size();
  if (from.mesh == to.mesh) {
    const int64_t p = p1;
    if (a == b || b.is_partial()) return 0;
    if (a.is_partial()) return (b.is_broadcast() ? 2 : 1) * (p - 1) * t;
    if (a.is_broadcast()) return 0;
    return b.is_broadcast() ? (p - 1) * t : t / p * (p - 1);
  }
  const std::vector<int>& ranks = to.mesh.ranks();
  const bool disjoint = std::none_of(ranks.begin(), ranks.end(),
                                     [&](int rank) { return from.mesh.IndexOf(rank) >= 0; });
  if (!disjoint) return std::nullopt;
  if (!a.is_partial()) return b.is_broadcast() ? p2 * t : t;
  return b.is_broadcast() ? (p1 + p2 - 1) * t : p1 * t;
}

}  // namespace weft::testing
