// The predicted time of a step: all ranks' plans run on a clock, by the cost model's durations.
#pragma once

#include <vector>

#include "runtime/plan.pb.h"

namespace weft {

struct StepForecast {
  double seconds = 0;        // from one step's end to the next one's
  std::vector<double> busy;  // per stream, of the rank that is busiest on it
};

// `plans` are those of all ranks of one program, in rank order. Conversions begin when the last
// rank comes to them. Pure.
StepForecast ForecastStep(const std::vector<Plan>& plans);

}  // namespace weft
