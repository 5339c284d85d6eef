#include "parallel/step_schedule.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/marked_graph.h"
#include "runtime/status.h"

namespace weft {
namespace {

MarkedGraph ToMarkedGraph(const LoweredProgram& program) {
  MarkedGraph graph;
  graph.streams = kNumStreams;
  for (const LoweredActor& actor : program.actors) {
    graph.actors.push_back({.name = actor.name,
                            .stream = static_cast<int>(actor.stream),
                            .firings_per_step = actor.firings,
                            .seconds = static_cast<double>(actor.ticks),
                            .priority = static_cast<int>(graph.actors.size())});
  }
  for (const LoweredChannel& channel : program.channels) {
    const LoweredBuffer& buffer = program.buffers[channel.buffer];
    MarkedGraph::Channel def{.name = buffer.name,
                             .producer = channel.producer,
                             .consumers = {},
                             .slots = buffer.slots,
                             .writes_per_slot = channel.writes_per_slot,
                             .initial = channel.initial};
    for (const LoweredConsumer& consumer : channel.consumers) {
      def.consumers.push_back({consumer.actor, consumer.reads_per_slot});
    }
    graph.channels.push_back(std::move(def));
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

absl::StatusOr<StepSchedule> ScheduleStep(const LoweredProgram& program) {
  MarkedGraph graph = ToMarkedGraph(program);
  WEFT_RETURN_IF_ERROR(Annotate(Check(graph), "the lowered program"));
  WEFT_ASSIGN_OR_RETURN(const Schedule found, PlayToTheEnd(graph, 1));
  StepSchedule result;
  result.ticks = static_cast<int64_t>(found.seconds);
  for (const std::vector<Schedule::Firing>& stream : found.streams) {
    std::vector<int>& list = graph.lists.emplace_back();
    for (const Schedule::Firing& firing : stream) {
      list.push_back(firing.actor);
      result.firings.push_back({firing.actor, static_cast<int>(firing.index),
                                static_cast<int64_t>(firing.start),
                                static_cast<int64_t>(firing.end)});
    }
  }
  std::stable_sort(
      result.firings.begin(), result.firings.end(),
      [](const ScheduledFiring& a, const ScheduledFiring& b) { return a.begin < b.begin; });
  WEFT_RETURN_IF_ERROR(PlayToTheEnd(graph, 2).status());
  return result;
}

}  // namespace weft
