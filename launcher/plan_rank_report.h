// The part of a PlanReport that is one rank's: channels, stream lists, memory.
#pragma once

#include <vector>

#include "launcher/plan_graph_report.h"
#include "launcher/plan_report.h"
#include "parallel/compile.h"
#include "runtime/plan.pb.h"

namespace weft {

// `plan` is of a rank of `rows`' stage of `program`; `timeline` is the rank's, or empty, and then
// there is no memory over time.
PlanReport::Rank ReportRank(const Program& program, const StageRows& rows, const Plan& plan,
                            const std::vector<PlanReport::Value>& values,
                            const std::vector<PlanReport::Stream>& timeline);

}  // namespace weft
