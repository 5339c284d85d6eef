#include "graph/sbp.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kMostTurns = 1 << 14;  // of parts around a ring

}  // namespace

std::string Sbp::ToString() const {
  switch (kind_) {
    case Kind::kSplit: {
      std::string text = absl::StrCat("S(", static_cast<int>(dim_));
      if (order_ == IndexOrder::kZigzag) text += "; zigzag";
      if (turn_.steps != 0) absl::StrAppend(&text, "; turn ", turn_.steps);
      if (turn_.reach >= 0) absl::StrAppend(&text, "; reach ", turn_.reach);
      return text + ")";
    }
    case Kind::kBroadcast: return "B";
    case Kind::kPartial: return absl::StrCat("P(", std::string(Name(monoid_)), ")");
  }
  return "?";
}

// Reads one of the words after a split's dimension; false if it is none, or has been said.
bool Sbp::ParseOption(std::string_view text, Sbp& split) {
  absl::string_view word = absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size()));
  int number = 0;
  if (word == "zigzag" && split.order_ != IndexOrder::kZigzag) {
    split.order_ = IndexOrder::kZigzag;
    return true;
  }
  if (absl::ConsumePrefix(&word, "turn ") && absl::SimpleAtoi(word, &number)) {
    const bool known =
        split.turn_.is_own() && number != 0 && number < kMostTurns && number > -kMostTurns;
    if (known) split.turn_.steps = static_cast<int16_t>(number);
    return known;
  }
  if (absl::ConsumePrefix(&word, "reach ") && absl::SimpleAtoi(word, &number)) {
    const bool known = split.turn_.reach < 0 && number >= 0;
    if (known) split.turn_.reach = number;
    return known;
  }
  return false;
}

absl::StatusOr<Sbp> Sbp::Parse(std::string_view text) {
  const std::string trimmed(
      absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size())));
  if (trimmed == "B") return B();
  if (trimmed.size() > 3 && trimmed[1] == '(' && trimmed.back() == ')') {
    const std::string inner = trimmed.substr(2, trimmed.size() - 3);
    if (trimmed[0] == 'P') {
      WEFT_ASSIGN_OR_RETURN(Monoid monoid, ParseMonoid(inner));
      return P(monoid);
    }
    const std::vector<std::string> parts = absl::StrSplit(inner, ';');
    int dim = 0;
    if (trimmed[0] == 'S' && absl::SimpleAtoi(parts[0], &dim) && dim >= 0 && dim < 100) {
      Sbp split = S(dim);
      bool known = true;
      for (size_t i = 1; i < parts.size(); ++i) known = known && ParseOption(parts[i], split);
      const bool reaches = split.turn_.reach >= 0;
      if (known &&
          !(reaches && (split.turn_.is_own() || split.order_ != IndexOrder::kContiguous))) {
        return split;
      }
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", trimmed,
                   "' is not an SBP; write S(dim), S(dim; zigzag), B, P(sum), P(max) or "
                   "P(logaddexp)"));
}

}  // namespace weft
