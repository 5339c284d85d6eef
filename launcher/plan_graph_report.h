// The part of a PlanReport that is the graph's: blocks, values, ops, conversions and actors.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "launcher/plan_report.h"
#include "parallel/compile.h"

namespace weft {

// A stage of the program, and where its actors are in the report. `stage` points into the program.
struct StageRows {
  const StageProgram* stage = nullptr;
  std::vector<int> actors;  // by actor of the stage and of its ranks' plans: of PlanReport::actors
};

// Fills blocks, values, ops, conversions, stages, actors and bytes_sent of `report`; report.times
// says whether seconds too. The result is by stage. Errors: those of StepOf.
absl::StatusOr<std::vector<StageRows>> ReportGraph(const Program& program, PlanReport& report);

// Seconds as reports hold them: whole nanoseconds.
double RoundedSeconds(double seconds);

}  // namespace weft
