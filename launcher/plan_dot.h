// A PlanReport as a graph for graphviz: `weft plan JOB --format dot | dot -Tsvg > plan.svg`.
#pragma once

#include <string>

#include "launcher/plan_report.h"

namespace weft {

// One cluster for each block, one inside for each part of the step; blocks that are an earlier one
// over again are drawn as one box, optimizer states and scalars that many ops read not at all.
// Edges carry the layout in which the value lies; conversions are coloured and say how, how many
// bytes a step, and why.
std::string PlanDot(const PlanReport& report);

}  // namespace weft
