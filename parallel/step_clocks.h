// StepClocks: what is certainly over on every stream when a firing begins, whatever the timing: by
// the order of its own stream, and by the messages full and free that it waits for.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "parallel/lowered_program.h"
#include "parallel/step_schedule.h"

namespace weft {

// Per stream, all work that the schedule ends at or before this tick is over; ticks go on from step
// to step. -1: nothing.
using Clock = std::array<int64_t, kNumStreams>;

// Takes in what another knows.
void Merge(const Clock& other, Clock& clock);

// Plays `steps` steps of the schedule in order and calls visit(step, firing, clock) at every
// beginning; `firing` indexes schedule.firings. What visit adds to the clock holds from there on:
// the order edges that a caller means to make.
void PlayClocks(const LoweredProgram& program, const StepSchedule& schedule, int steps,
                const std::function<void(int step, int firing, Clock& clock)>& visit);

// The tick at which the schedule has done `calls` calls of `firing` of `step`; all: its end.
int64_t TickAfter(const LoweredProgram& program, const StepSchedule& schedule, int step, int firing,
                  int calls);

}  // namespace weft
