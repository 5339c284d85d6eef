#include "parallel/conversion_limits.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/human_units.h"

namespace weft {
namespace {

constexpr size_t kShown = 10;

int Times(const Conversion& c, int microbatches) { return c.microbatch ? microbatches : 1; }

std::string List(std::vector<const Conversion*> conversions, int microbatches) {
  std::stable_sort(conversions.begin(), conversions.end(),
                   [&](const Conversion* a, const Conversion* b) {
                     return a->bytes * Times(*a, microbatches) > b->bytes * Times(*b, microbatches);
                   });
  std::string text;
  for (size_t i = 0; i < std::min(kShown, conversions.size()); ++i) {
    const Conversion& c = *conversions[i];
    const int times = Times(c, microbatches);
    absl::StrAppend(&text, "\n  '", c.value, "' for ", c.consumer, ": ", c.from, " to ", c.to,
                    " by ", c.how, ", ", HumanBytes(c.bytes * times), " and ",
                    HumanSeconds(c.seconds * times), " a step");
  }
  if (conversions.size() > kShown) {
    absl::StrAppend(&text, "\n  and ", conversions.size() - kShown, " smaller");
  }
  return text;
}

}  // namespace

absl::Status CheckConversions(const std::vector<Conversion>& conversions, int microbatches,
                              const ConversionLimits& limits) {
  std::vector<const Conversion*> moving, unasked;
  int64_t bytes = 0;
  for (const Conversion& c : conversions) {
    if (c.bytes == 0) continue;
    moving.push_back(&c);
    if (!c.asked && !c.sums) unasked.push_back(&c);
    bytes += c.bytes * Times(c, microbatches);
  }
  if (limits.forbid && !unasked.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        unasked.size(), unasked.size() == 1 ? " conversion is" : " conversions are",
        " needed that nobody asked for, and plan.forbid_conversions is set; annotate the values as "
        "they are to lie, or allow it:",
        List(unasked, microbatches)));
  }
  if (limits.bytes > 0 && bytes > limits.bytes) {
    return absl::FailedPreconditionError(absl::StrCat(
        "conversions send ", HumanBytes(bytes), " a step over all ranks but may send ",
        HumanBytes(limits.bytes),
        " (plan.conversion_bytes); allow more, or take another mesh or other annotations:",
        List(moving, microbatches)));
  }
  return absl::OkStatus();
}

}  // namespace weft
