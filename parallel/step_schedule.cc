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

// Who goes first of what is ready. A microbatch that has begun goes on before later ones begin: in a
// pipeline, backward before forward. Within it, what the longest chain of work waits for: weights in
// the order of their use, an activation's sum before a gradient's.
void SetOrder(MarkedGraph& graph) {
  // Actors that fire together are one unit.
  std::vector<int> unit(graph.actors.size());
  std::map<int, int> unit_of_group;
  for (int a = 0; a < static_cast<int>(unit.size()); ++a) {
    const int group = graph.actors[a].group;
    unit[a] = group < 0 ? a : unit_of_group.try_emplace(group, a).first->second;
  }
  // Edges of one step: from who fills a slot to who reads it.
  std::vector<std::vector<int>> successors(unit.size());
  std::vector<int> missing(unit.size(), 0);
  for (const MarkedGraph::Channel& channel : graph.channels) {
    if (channel.initial > 0) continue;
    for (const MarkedGraph::Consumer& consumer : channel.consumers) {
      const int from = unit[channel.producer], to = unit[consumer.actor];
      if (from == to) continue;
      successors[from].push_back(to);
      ++missing[to];
    }
  }
  std::vector<int> order;
  for (int u = 0; u < static_cast<int>(unit.size()); ++u) {
    if (unit[u] == u && missing[u] == 0) order.push_back(u);
  }
  int microbatches = 1;
  for (const MarkedGraph::Actor& actor : graph.actors) {
    microbatches = std::max(microbatches, actor.firings_per_step);
  }
  std::vector<bool> follows(unit.size(), false);  // some actor of the microbatches
  for (size_t i = 0; i < order.size(); ++i) {
    const int u = order[i];
    const bool follows_later = follows[u] || graph.actors[u].firings_per_step > 1;
    for (int s : successors[u]) {
      follows[s] = follows[s] || follows_later;
      if (--missing[s] == 0) order.push_back(s);
    }
  }
  std::vector<double> left(unit.size(), 0);  // of the longest chain, this unit included
  for (size_t i = order.size(); i-- > 0;) {
    const int u = order[i];
    for (int s : successors[u]) left[u] = std::max(left[u], left[s]);
    left[u] += graph.actors[u].seconds;
  }
  for (size_t a = 0; a < unit.size(); ++a) {
    MarkedGraph::Actor& actor = graph.actors[a];
    actor.priority = left[unit[a]];
    if (actor.firings_per_step == 1 && follows[unit[a]]) actor.round = microbatches;
  }
}

// Ticks into a firing after so many of its calls; -1: all of them.
double TicksAfter(const LoweredActor& actor, int calls) {
  if (calls >= static_cast<int>(actor.calls.size())) return -1;
  int64_t ticks = 0;
  for (int c = 0; c < calls; ++c) ticks += actor.calls[c].ticks;
  return static_cast<double>(ticks);
}

int IndexOf(const std::vector<int>& channels, int channel) {
  return static_cast<int>(std::find(channels.begin(), channels.end(), channel) - channels.begin());
}

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
      if (travels) {
        def.group = group_of.try_emplace(actor.node, group_of.size()).first->second;
      }
    }
    for (size_t c = 0; c < part->channels.size(); ++c) {
      const LoweredChannel& channel = part->channels[c];
      const LoweredBuffer& buffer = part->buffers[channel.buffer];
      const int id = static_cast<int>(c);
      const LoweredActor& producer = part->actors[channel.producer];
      MarkedGraph::Channel def{
          .name = buffer.name,
          .producer = first + channel.producer,
          .consumers = {},
          .slots = buffer.slots,
          .writes_per_slot = channel.writes_per_slot,
          .initial = channel.initial,
          .after = TicksAfter(producer, producer.full_after[IndexOf(producer.outputs, id)])};
      for (const LoweredConsumer& consumer : channel.consumers) {
        const LoweredActor& actor = part->actors[consumer.actor];
        def.consumers.push_back(
            {.actor = first + consumer.actor,
             .reads_per_slot = consumer.reads_per_slot,
             .after = TicksAfter(actor, actor.free_after[IndexOf(actor.inputs, id)])});
      }
      graph.channels.push_back(std::move(def));
    }
    graph.streams += kNumStreams;
  }
  SetOrder(graph);
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
