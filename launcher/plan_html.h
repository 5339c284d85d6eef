// A PlanReport as one self-contained page for people: launcher/plan_page/ with the report inside.
#pragma once

#include <string>

#include "launcher/plan_report.h"

namespace weft {

// Fetches nothing and needs no network. Large plans are cut to what a browser shows fluently:
// repeated layers once, the largest holders and conversions, the first firings; the page says what
// is left out.
std::string PlanHtml(const PlanReport& report);

// What the page holds of the report: itself where it is small.
PlanReport CutForPage(PlanReport report);

}  // namespace weft
