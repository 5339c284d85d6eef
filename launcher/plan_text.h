// What `weft plan` prints: layouts, conversions with bytes and reason, memory, slots, stream lists.
#pragma once

#include <cstddef>
#include <string>

#include "launcher/plan_report.h"

namespace weft {

// Step time is predicted for at most 64 kinds of ranks (launcher/rank_twins.h). Channels and stream
// lists are those of the first rank, and so are the `holders` largest holders
// of memory.
std::string PlanText(const PlanReport& report, size_t holders = 16);

}  // namespace weft
