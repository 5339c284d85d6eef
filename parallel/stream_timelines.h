// StreamTimelines: what is under way on the streams of a schedule at any tick.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "parallel/lowered_program.h"
#include "parallel/place_memory.h"
#include "parallel/step_schedule.h"

namespace weft {

// Refers to the schedule, which outlives it.
class StreamTimelines {
 public:
  StreamTimelines(const LoweredProgram& program, const StepSchedule& schedule);

  // `time`, widened to whole firings: those of any stream that are under way at its ends.
  Lifetime Widen(Lifetime time) const;

 private:
  using Timeline = std::vector<const ScheduledFiring*>;

  static const ScheduledFiring* At(const Timeline& timeline, int64_t tick);

  std::array<Timeline, kNumStreams> timelines_;
};

}  // namespace weft
