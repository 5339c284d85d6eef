#include "graph/sbp.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/status.h"

namespace weft {

std::string Sbp::ToString() const {
  switch (kind_) {
    case Kind::kSplit:
      return absl::StrCat("S(", static_cast<int>(dim_),
                          order_ == IndexOrder::kZigzag ? "; zigzag)" : ")");
    case Kind::kBroadcast: return "B";
    case Kind::kPartial: return absl::StrCat("P(", std::string(Name(monoid_)), ")");
  }
  return "?";
}

absl::StatusOr<Sbp> Sbp::Parse(std::string_view text) {
  const std::string trimmed(absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size())));
  if (trimmed == "B") return B();
  if (trimmed.size() > 3 && trimmed[1] == '(' && trimmed.back() == ')') {
    const std::string inner = trimmed.substr(2, trimmed.size() - 3);
    if (trimmed[0] == 'P') {
      WEFT_ASSIGN_OR_RETURN(Monoid monoid, ParseMonoid(inner));
      return P(monoid);
    }
    const std::vector<std::string> parts = absl::StrSplit(inner, ';');
    int dim = 0;
    if (trimmed[0] == 'S' && parts.size() <= 2 && absl::SimpleAtoi(parts[0], &dim) && dim >= 0 &&
        dim < 100) {
      if (parts.size() == 1) return S(dim);
      if (absl::StripAsciiWhitespace(parts[1]) == "zigzag") return S(dim, IndexOrder::kZigzag);
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "'", trimmed, "' is not an SBP; write S(dim), S(dim; zigzag), B, P(sum), P(max) or "
      "P(logaddexp)"));
}

}  // namespace weft
