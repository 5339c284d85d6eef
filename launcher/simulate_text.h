// What `weft simulate` prints: step time, tokens per second, what every rank does with its time,
// what it sends and holds, and what computation waits for.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "graph/op_def.h"
#include "launcher/cluster.pb.h"
#include "launcher/job.pb.h"

namespace weft {

// Compiles the job's training graph for the cluster and runs the plans of all ranks of its mesh on
// virtual streams for `steps` steps. Runs nothing else; a plan is made for each kind of ranks
// (launcher/rank_twins.h) and dropped again.
absl::StatusOr<std::string> SimulateText(const Job& job, const Cluster& cluster,
                                         const OpRegistry& ops, int steps);

}  // namespace weft
