#include "launcher/step_times.h"

#include <algorithm>
#include <map>

namespace weft {
namespace {

double TickSeconds(int64_t tick) { return static_cast<double>(tick) / kTicksPerSecond; }

}  // namespace

StepTimes::StepTimes(const StageRows& rows, const std::vector<PlanReport::Stream>& timeline) {
  std::map<std::pair<int, int>, const PlanReport::Firing*> seen;
  std::map<int, int> count;
  for (const PlanReport::Stream& stream : timeline) {
    for (const PlanReport::Firing& firing : stream.timeline) {
      seen[{firing.actor, count[firing.actor]++}] = &firing;
    }
  }
  knots_ = {{0, 0.0}};
  const auto add = [this](int64_t tick, double seconds) {
    if (tick > knots_.back().first) {
      knots_.emplace_back(tick, std::max(seconds, knots_.back().second));
    }
  };
  for (const ScheduledFiring& firing : rows.stage->schedule.firings) {
    if (rows.stage->lowered.actors[firing.actor].stream != StreamId::kCompute) continue;
    const auto found = seen.find({rows.actors[firing.actor], firing.index});
    if (found == seen.end()) continue;
    add(firing.begin, found->second->begin);
    add(firing.end, found->second->end);
  }
}

double StepTimes::Seconds(int64_t tick) const {
  const auto after = std::lower_bound(
      knots_.begin(), knots_.end(), tick,
      [](const std::pair<int64_t, double>& knot, int64_t at) { return knot.first < at; });
  if (after == knots_.end()) {
    return RoundedSeconds(knots_.back().second + TickSeconds(tick - knots_.back().first));
  }
  if (after == knots_.begin()) return RoundedSeconds(after->second);
  const auto& [t0, s0] = *(after - 1);
  const auto& [t1, s1] = *after;
  const double share = static_cast<double>(tick - t0) / static_cast<double>(t1 - t0);
  return RoundedSeconds(s0 + share * (s1 - s0));
}

std::vector<PlanReport::Stream> VirtualTimeline(const StageRows& rows) {
  std::vector<PlanReport::Stream> streams(kNumStreams);
  for (int s = 0; s < kNumStreams; ++s) streams[s].name = kStreamNames[s];
  for (const ScheduledFiring& firing : rows.stage->schedule.firings) {
    const LoweredActor& actor = rows.stage->lowered.actors[firing.actor];
    const bool many = actor.firings > 1;
    streams[static_cast<int>(actor.stream)].timeline.push_back(
        {rows.actors[firing.actor], many ? firing.index : -1, TickSeconds(firing.begin),
         TickSeconds(firing.end)});
  }
  return streams;
}

}  // namespace weft
