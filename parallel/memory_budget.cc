#include "parallel/memory_budget.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace weft {

absl::Status OverBudget(int rank, int64_t budget, int64_t arena, int64_t variables,
                        std::vector<Holder> holders) {
  constexpr size_t kShown = 10;
  constexpr double kMegabyte = 1e6;
  std::stable_sort(holders.begin(), holders.end(),
                   [](const Holder& a, const Holder& b) { return a.bytes > b.bytes; });
  std::string text = absl::StrFormat(
      "rank %d needs %.1f MB (%.1f MB activations and gradients at the peak, %.1f MB parameters "
      "and "
      "optimizer states) but may hold %.1f MB; the largest holders:\n",
      rank, (arena + variables) / kMegabyte, arena / kMegabyte, variables / kMegabyte,
      budget / kMegabyte);
  for (size_t i = 0; i < std::min(kShown, holders.size()); ++i) {
    absl::StrAppendFormat(&text, "  %10.1f MB  %s\n", holders[i].bytes / kMegabyte,
                          holders[i].name);
  }
  absl::StrAppend(&text,
                  variables > arena
                      ? "split the parameters over more ranks (mesh axis model)"
                      : "use more microbatches or a smaller global batch, or split over more "
                        "ranks (mesh axes data, model)");
  return absl::ResourceExhaustedError(text);
}

}  // namespace weft
