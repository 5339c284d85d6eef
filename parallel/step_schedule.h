// StepSchedule: one step of a lowered program on virtual streams. Messages arrive when they leave
// and ready actors fire by (microbatch, longest chain of work that waits for them, arrival); the
// order that each stream saw becomes its list in every rank's plan, and the times say what of the
// memory is live together.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/lowered_program.h"

namespace weft {

// One firing, begin included, end not; in ticks.
struct ScheduledFiring {
  int actor = 0;
  int index = 0;  // of the actor within the step
  int64_t begin = 0;
  int64_t end = 0;
};

// A value. Every firing begins when all that it needs has been sent, by firings that began before,
// so the lists that project this one order cannot deadlock, whatever the real durations.
struct StepSchedule {
  std::vector<ScheduledFiring> firings;  // by begin; ties across streams by stream
  int64_t ticks = 0;                     // when the last firing of any rank ends
};

// Plays one step of all parts of a program together, then two with the lists thus found, which
// proves that every run ends. Conversions that several parts take part in (by LoweredActor::node)
// fire as one. Of what is ready the earliest microbatch goes first, so that microbatches drain
// before new ones enter: in a pipeline, backward before forward. The ticks are common to all parts. Error (a
// weft bug): the channels allow no complete step; the message holds the cycle of waits.
absl::StatusOr<std::vector<StepSchedule>> ScheduleStep(
    const std::vector<const LoweredProgram*>& parts);

}  // namespace weft
