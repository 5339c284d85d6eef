// The commutative monoids by which partial values combine: the m of P(m).
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace weft {

enum class Monoid : uint8_t { kSum, kMax, kLogAddExp };

// "sum", "max", "logaddexp".
std::string_view Name(Monoid monoid);
// Reads what Name prints; InvalidArgument lists the known names.
absl::StatusOr<Monoid> ParseMonoid(std::string_view name);
// The value e with m(e, x) = x, as a double: 0, -inf, -inf. (Integers take the dtype's lowest.)
double IdentityOf(Monoid monoid);

}  // namespace weft
