// What `weft plan` prints: layouts, conversions with bytes and reason, memory, slots, stream lists.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "graph/op_def.h"
#include "launcher/job.pb.h"

namespace weft {

// Compiles the job's training graph and describes it and every rank's plan. Runs nothing.
absl::StatusOr<std::string> PlanText(const Job& job, const OpRegistry& ops);

}  // namespace weft
