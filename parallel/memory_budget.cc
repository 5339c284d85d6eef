#include "parallel/memory_budget.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/human_units.h"

namespace weft {

absl::Status OverBudget(int rank, int64_t budget, int64_t arena, int64_t variables,
                        std::vector<Holder> holders) {
  constexpr size_t kShown = 5;
  std::stable_sort(holders.begin(), holders.end(),
                   [](const Holder& a, const Holder& b) { return a.bytes > b.bytes; });
  std::string text =
      absl::StrCat("rank ", rank, " needs ", HumanBytes(arena + variables), " (", HumanBytes(arena),
                   " of activations and gradients at the peak, ", HumanBytes(variables),
                   " of parameters and optimizer states) but may hold ", HumanBytes(budget),
                   " (train.memory_bytes, or its share of this machine); the largest holders:");
  for (size_t i = 0; i < std::min(kShown, holders.size()); ++i) {
    absl::StrAppend(&text, i > 0 ? ", " : " ", holders[i].name, " ", HumanBytes(holders[i].bytes));
  }
  absl::StrAppend(&text,
                  variables > std::min(arena, budget)
                      ? ". Use a smaller model, or split the parameters over more ranks "
                        "(mesh axis model)"
                      : ". Use more train.microbatches or a shorter data.sequence, or split "
                        "over more ranks (mesh axes data, model)",
                  "; weft plan shows the whole table");
  return absl::ResourceExhaustedError(text);
}

}  // namespace weft
