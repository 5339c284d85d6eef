#include "runtime/monoid.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"

namespace weft {

std::string_view Name(Monoid monoid) {
  switch (monoid) {
    case Monoid::kSum: return "sum";
    case Monoid::kMax: return "max";
    case Monoid::kLogAddExp: return "logaddexp";
  }
  return "?";
}

absl::StatusOr<Monoid> ParseMonoid(std::string_view name) {
  for (Monoid monoid : {Monoid::kSum, Monoid::kMax, Monoid::kLogAddExp}) {
    if (Name(monoid) == name) return monoid;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown monoid '", std::string(name), "'; known: sum, max, logaddexp"));
}

double IdentityOf(Monoid monoid) {
  return monoid == Monoid::kSum ? 0.0 : -std::numeric_limits<double>::infinity();
}

}  // namespace weft
