#include "parallel/step_schedule.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/marked_graph.h"
#include "runtime/status.h"

namespace weft {
namespace {

// All parts side by side: part p has streams [p * kNumStreams, (p + 1) * kNumStreams), and its
// actors follow those of the parts before.
MarkedGraph ToMarkedGraph(const std::vector<const LoweredProgram*>& parts) {
  MarkedGraph graph;
  std::map<int, int> group_of;  // by node of the conversion
  for (const LoweredProgram* part : parts) {
    const int first = static_cast<int>(graph.actors.size());
    for (const LoweredActor& actor : part->actors) {
      const bool travels = parts.size() > 1 && actor.kind == LoweredActor::Kind::kReshard &&
                           actor.stream == StreamId::kCommunication;
      MarkedGraph::Actor& def = graph.actors.emplace_back();
      def.name = actor.name;
      def.stream = graph.streams + static_cast<int>(actor.stream);
      def.firings_per_step = actor.firings;
      def.seconds = static_cast<double>(actor.ticks);
      def.priority = actor.depth;
      if (travels) {
        def.group = group_of.try_emplace(actor.node, group_of.size()).first->second;
      }
    }
    for (const LoweredChannel& channel : part->channels) {
      const LoweredBuffer& buffer = part->buffers[channel.buffer];
      MarkedGraph::Channel def{.name = buffer.name,
                               .producer = first + channel.producer,
                               .consumers = {},
                               .slots = buffer.slots,
                               .writes_per_slot = channel.writes_per_slot,
                               .initial = channel.initial};
      for (const LoweredConsumer& consumer : channel.consumers) {
        def.consumers.push_back({first + consumer.actor, consumer.reads_per_slot});
      }
      graph.channels.push_back(std::move(def));
    }
    graph.streams += kNumStreams;
  }
  return graph;
}

absl::StatusOr<Schedule> PlayToTheEnd(const MarkedGraph& graph, int steps) {
  Schedule schedule = RunMarkedGraph(graph, steps);
  if (schedule.complete()) return schedule;
  return absl::InternalError(
      absl::StrCat("no complete step is possible:\n  ", absl::StrJoin(schedule.stuck, "\n  ")));
}

}  // namespace

absl::StatusOr<std::vector<StepSchedule>> ScheduleStep(
    const std::vector<const LoweredProgram*>& parts) {
  MarkedGraph graph = ToMarkedGraph(parts);
  WEFT_RETURN_IF_ERROR(Annotate(Check(graph), "the lowered program"));
  WEFT_ASSIGN_OR_RETURN(const Schedule found, PlayToTheEnd(graph, 1));
  std::vector<StepSchedule> results(parts.size());
  int first = 0;  // actor of the part
  for (size_t p = 0; p < parts.size(); ++p) {
    StepSchedule& result = results[p];
    result.ticks = static_cast<int64_t>(found.seconds);
    for (int s = 0; s < kNumStreams; ++s) {
      std::vector<int>& list = graph.lists.emplace_back();
      for (const Schedule::Firing& firing : found.streams[p * kNumStreams + s]) {
        list.push_back(firing.actor);
        result.firings.push_back({firing.actor - first, static_cast<int>(firing.index),
                                  static_cast<int64_t>(firing.start),
                                  static_cast<int64_t>(firing.end)});
      }
    }
    std::stable_sort(
        result.firings.begin(), result.firings.end(),
        [](const ScheduledFiring& a, const ScheduledFiring& b) { return a.begin < b.begin; });
    first += static_cast<int>(parts[p]->actors.size());
  }
  WEFT_RETURN_IF_ERROR(PlayToTheEnd(graph, 2).status());
  return results;
}

}  // namespace weft
