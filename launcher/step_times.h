// When things of the virtual step happen in the simulated one: the order of firings is the same,
// their times differ a little, since a simulation knows every message.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "launcher/plan_graph_report.h"
#include "launcher/plan_report.h"

namespace weft {

// Maps ticks of a stage's schedule to seconds of a rank's timeline, by the firings of its compute
// stream; linear between them. A value.
class StepTimes {
 public:
  // `timeline` is of a rank of the stage. Without firings that both know, a tick is a tick of the
  // virtual step.
  StepTimes(const StageRows& rows, const std::vector<PlanReport::Stream>& timeline);
  double Seconds(int64_t tick) const;

 private:
  std::vector<std::pair<int64_t, double>> knots_;  // strictly increasing ticks
};

// The virtual step that the compiler played, as timelines by stream; the same on all ranks of the
// stage.
std::vector<PlanReport::Stream> VirtualTimeline(const StageRows& rows);

}  // namespace weft
