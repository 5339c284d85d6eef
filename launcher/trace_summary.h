// What a rank's streams did in the traced steps, in a few figures.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "actors/firing_times.h"
#include "runtime/plan.pb.h"

namespace weft {

// Looks at the time from the beginning of computation in the first traced step to that in the last,
// whole steps with all gaps, or, where one step was traced, to its end:
//
//   {"rank": 0, "steps": 2, "step_ms": 10.5, "exposed_communication_ms": 0.4,
//    "streams": [{"name": "compute", "busy": 0.97, "host_bound": 0.001}, ...]}
//
// `busy` is a share of that time, without `host_bound`, in which a device may have waited for the
// host. Communication is exposed while a stream that communicates is busy, waiting for late ranks
// included, and none computes; milliseconds a step. Zeros for a rank that does not compute.
nlohmann::ordered_json SummariseTrace(const Plan& plan, const std::vector<FiringTime>& times);

// A table for people, a row for each of the summaries of ranks 0, 1, ...; of many only the first.
std::string TraceSummaryText(const std::vector<nlohmann::ordered_json>& ranks);

}  // namespace weft
