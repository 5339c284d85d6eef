// A PlanReport as JSON: the documented, versioned form for programs (docs/plan_json.md).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "launcher/plan_report.h"

namespace weft {

// Grows by one whenever a field changes its meaning or goes away; new fields do not change it.
inline constexpr int kPlanJsonVersion = 1;

nlohmann::ordered_json PlanJson(const PlanReport& report);

// One line for each element of the long lists, so that a difference can be read; ends with a
// newline.
std::string PlanJsonText(const PlanReport& report);

}  // namespace weft
