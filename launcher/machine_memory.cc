#include "launcher/machine_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "launcher/human_units.h"
#include "launcher/memory_holders.h"

namespace weft {
namespace {

constexpr size_t kShownHolders = 3;

}  // namespace

int64_t MachineMemoryBytes() {
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    int64_t limit = 0;
    if (file >> limit && limit > 0) bytes = std::min(bytes, limit);  // "max" is no number
  }
  return bytes;
}

absl::Status CheckFits(const Plan& plan, int ranks_here, int64_t available) {
  const int64_t needed = plan.arena_bytes() + VariableBytes(plan);
  if (needed <= available / ranks_here) return absl::OkStatus();
  std::string text = absl::StrCat(
      "rank ", plan.rank(), " needs ", HumanBytes(needed), " (", HumanBytes(plan.arena_bytes()),
      " of values, the rest variables)",
      ranks_here > 1 ? absl::StrCat(", ", ranks_here, " ranks share this machine") : "",
      ", which has ", HumanBytes(available), "; the largest:");
  const std::vector<MemoryHolder> holders = MemoryHolders(plan);
  for (size_t i = 0; i < std::min(kShownHolders, holders.size()); ++i) {
    absl::StrAppend(&text, i > 0 ? "," : "", " ", holders[i].name, " ",
                    HumanBytes(holders[i].bytes));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      text,
      ". Use more train.microbatches, a shorter data.sequence, a smaller model, or more ranks "
      "on more machines; weft plan shows the whole table"));
}

}  // namespace weft
