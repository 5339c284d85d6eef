// What a rank's memory is for, and when: the placement's own lifetimes, on the clock of a timeline.
#pragma once

#include <vector>

#include "graph/graph.h"
#include "launcher/plan_graph_report.h"
#include "launcher/plan_report.h"
#include "runtime/plan.pb.h"

namespace weft {

// The curve adds up what is live at each moment, aligned as the arena aligns it: its maximum, less
// the variables, is the arena's lower bound, but for what could not be ordered to share memory.
PlanReport::Memory ReportMemory(const Graph& graph, const StageRows& rows, const Plan& plan,
                                const std::vector<PlanReport::Value>& values,
                                const std::vector<PlanReport::Stream>& timeline);

}  // namespace weft
