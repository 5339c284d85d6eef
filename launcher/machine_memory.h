// Whether a job fits the machine, asked before memory is taken: afterwards the kernel would kill
// ranks without a word.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "runtime/plan.pb.h"

namespace weft {

// Bytes of memory that this process may use: the machine's, or less where a control group says so.
int64_t MachineMemoryBytes();

// FailedPrecondition unless the plan's arena and its variables fit `available` bytes `ranks_here`
// times; names the largest holders and what would help.
absl::Status CheckFits(const Plan& plan, int ranks_here, int64_t available);

}  // namespace weft
