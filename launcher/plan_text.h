// What `weft plan` prints: layouts, conversions with bytes and reason, memory, slots, stream lists.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "graph/op_def.h"
#include "launcher/cluster.pb.h"
#include "launcher/job.pb.h"

namespace weft {

struct PlanTextOptions {
  // Predicted times; without them the text depends on the job alone, not on measured costs.
  bool times = true;
  size_t holders = 16;  // rows of the memory table
  // The machines that costs and times are of; null: the defaults of CostModel. Outlives the call.
  const Cluster* cluster = nullptr;
};

// Compiles the job's training graph and describes it and the plans of its ranks, the channels and
// stream lists of the first one; step time is predicted for at most 64 kinds of ranks
// (launcher/rank_twins.h). Runs nothing, needs
// no data. Errors: those of TrainGraph and Compile.
absl::StatusOr<std::string> PlanText(const Job& job, const OpRegistry& ops,
                                     const PlanTextOptions& options = {});

}  // namespace weft
