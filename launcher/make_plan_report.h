// Fills a PlanReport from a compiled program and the plans of its ranks.
#pragma once

#include <cstddef>

#include "absl/status/statusor.h"
#include "actors/simulation.h"
#include "launcher/cluster.pb.h"
#include "launcher/job.pb.h"
#include "launcher/plan_report.h"
#include "parallel/compile.h"

namespace weft {

struct PlanReportOptions {
  // Predicted times, timelines and memory over time; without them the report depends on the job
  // alone, not on measured costs.
  bool times = true;
  // The machines that costs and times are of; null: the defaults of CostModel. Outlives the call.
  const Cluster* cluster = nullptr;
  // One rank of each class, as far as this goes; those of different stages first.
  size_t most_full_ranks = 8;
  // A prediction holds the plans of all kinds of ranks; for more kinds it is left to `weft
  // simulate`, and timelines are those of the virtual step that the compiler played.
  size_t most_simulated_kinds = 64;
};

// Instantiates the plan of one rank of each kind (launcher/rank_twins.h) of `program`, which is
// compiled from `job`, over `links`; runs nothing. Pure. Errors: those of FindTwins,
// InstantiatePlan and SimulatePlans.
absl::StatusOr<PlanReport> MakePlanReport(const Job& job, const Program& program, LinkTable links,
                                          const PlanReportOptions& options = {});

// Marks blocks that are an earlier one over again: equal ops, types, layouts and conversions, in
// order, on the same meshes.
void FoldBlocks(PlanReport& report);

}  // namespace weft
