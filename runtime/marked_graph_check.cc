// What a marked graph must satisfy before it is run.
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "runtime/marked_graph.h"
#include "runtime/status.h"

namespace weft {
namespace {

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status CheckPort(const MarkedGraph& graph, int actor, int rate, double after,
                       const char* what, int64_t* slots_per_step) {
  if (actor < 0 || actor >= static_cast<int>(graph.actors.size())) {
    return Invalid(what, " actor ", actor, " of ", graph.actors.size());
  }
  const MarkedGraph::Actor& a = graph.actors[actor];
  if (after > a.seconds) {
    return Invalid(what, " `", a.name, "` lets go ", after, " s into a firing of ", a.seconds, " s");
  }
  if (rate < 1 || a.firings_per_step % rate != 0) {
    return Invalid(what, " `", a.name, "` takes ", rate, " firings a slot, which does not divide its ",
                   a.firings_per_step, " firings a step");
  }
  *slots_per_step = a.firings_per_step / rate;
  return absl::OkStatus();
}

absl::Status CheckChannel(const MarkedGraph& graph, const MarkedGraph::Channel& c) {
  if (c.slots < 1) return Invalid(c.slots, " slots");
  if (c.initial < 0 || c.initial > c.slots) return Invalid(c.initial, " of ", c.slots, " slots full");
  int64_t written = 0;
  WEFT_RETURN_IF_ERROR(CheckPort(graph, c.producer, c.writes_per_slot, c.after, "producer", &written));
  for (size_t i = 0; i < c.consumers.size(); ++i) {
    const MarkedGraph::Consumer& consumer = c.consumers[i];
    int64_t read = 0;
    WEFT_RETURN_IF_ERROR(
        CheckPort(graph, consumer.actor, consumer.reads_per_slot, consumer.after, "consumer", &read));
    if (read != written) {
      return Invalid("a step fills ", written, " slots but consumer `",
                     graph.actors[consumer.actor].name, "` empties ", read);
    }
    for (size_t j = 0; j < i; ++j) {
      if (c.consumers[j].actor == consumer.actor) {
        return Invalid("`", graph.actors[consumer.actor].name, "` is a consumer twice");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLists(const MarkedGraph& graph) {
  if (graph.lists.empty()) return absl::OkStatus();
  if (static_cast<int>(graph.lists.size()) != graph.streams) {
    return Invalid(graph.lists.size(), " lists for ", graph.streams, " streams");
  }
  std::vector<int> listed(graph.actors.size(), 0);
  for (int s = 0; s < graph.streams; ++s) {
    for (int actor : graph.lists[s]) {
      if (actor < 0 || actor >= static_cast<int>(graph.actors.size())) {
        return Invalid("stream ", s, " lists actor ", actor, " of ", graph.actors.size());
      }
      if (graph.actors[actor].stream != s) {
        return Invalid("stream ", s, " lists `", graph.actors[actor].name, "`, which is on stream ",
                       graph.actors[actor].stream);
      }
      ++listed[actor];
    }
  }
  for (size_t a = 0; a < graph.actors.size(); ++a) {
    if (listed[a] != graph.actors[a].firings_per_step) {
      return Invalid("`", graph.actors[a].name, "` fires ", graph.actors[a].firings_per_step,
                     " times a step but is listed ", listed[a], " times");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckGroups(const MarkedGraph& graph) {
  std::vector<std::vector<int>> groups;
  for (int a = 0; a < static_cast<int>(graph.actors.size()); ++a) {
    const int group = graph.actors[a].group;
    if (group < 0) continue;
    if (group >= static_cast<int>(graph.actors.size())) {
      return Invalid("`", graph.actors[a].name, "` is of group ", group,
                     "; groups are numbered below the number of actors");
    }
    if (group >= static_cast<int>(groups.size())) groups.resize(group + 1);
    for (int other : groups[group]) {
      if (graph.actors[other].stream == graph.actors[a].stream) {
        return Invalid("`", graph.actors[a].name, "` and `", graph.actors[other].name,
                       "` fire together but share a stream");
      }
      if (graph.actors[other].firings_per_step != graph.actors[a].firings_per_step) {
        return Invalid("`", graph.actors[a].name, "` and `", graph.actors[other].name,
                       "` fire together but not equally often");
      }
    }
    groups[group].push_back(a);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Check(const MarkedGraph& graph) {
  for (const MarkedGraph::Actor& a : graph.actors) {
    if (a.stream < 0 || a.stream >= graph.streams) {
      return Invalid("actor `", a.name, "` is on stream ", a.stream, " of ", graph.streams);
    }
    if (a.firings_per_step < 1) {
      return Invalid("actor `", a.name, "` fires ", a.firings_per_step, " times a step");
    }
    if (!(a.seconds >= 0)) return Invalid("actor `", a.name, "` takes ", a.seconds, " s");
  }
  for (const MarkedGraph::Channel& c : graph.channels) {
    WEFT_RETURN_IF_ERROR(
        Annotate(CheckChannel(graph, c), absl::StrCat("channel `", c.name, "`")));
  }
  WEFT_RETURN_IF_ERROR(CheckGroups(graph));
  return CheckLists(graph);
}

}  // namespace weft
