#include "parallel/stream_timelines.h"

#include <algorithm>

namespace weft {

StreamTimelines::StreamTimelines(const LoweredProgram& program, const StepSchedule& schedule) {
  for (const ScheduledFiring& firing : schedule.firings) {
    timelines_[static_cast<int>(program.actors[firing.actor].stream)].push_back(&firing);
  }
}

Lifetime StreamTimelines::Widen(Lifetime time) const {
  Lifetime wide = time;
  for (const Timeline& timeline : timelines_) {
    if (const ScheduledFiring* f = At(timeline, time.first)) {
      wide.first = std::min(wide.first, f->begin);
    }
    if (const ScheduledFiring* f = At(timeline, time.last)) {
      wide.last = std::max(wide.last, f->end - 1);
    }
  }
  return wide;
}

const ScheduledFiring* StreamTimelines::At(const Timeline& timeline, int64_t tick) {
  const auto after = std::upper_bound(
      timeline.begin(), timeline.end(), tick,
      [](int64_t at, const ScheduledFiring* firing) { return at < firing->begin; });
  if (after == timeline.begin() || (*(after - 1))->end <= tick) return nullptr;
  return *(after - 1);
}

}  // namespace weft
