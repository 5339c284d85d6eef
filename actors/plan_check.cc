#include "actors/plan_check.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kDryRunSteps = 2;

bool Consumes(const ChannelDef& channel, int actor) {
  for (const ConsumerDef& consumer : channel.consumers()) {
    if (consumer.actor() == actor) return true;
  }
  return false;
}

// Channels say who writes and reads them, actors which they write and read: both must agree.
absl::Status CheckPorts(const Plan& plan) {
  std::vector<int> seen(plan.channels_size(), -1);  // the last actor port that named the channel
  size_t ports = 0;
  for (int a = 0; a < plan.actors_size(); ++a) {
    const ActorDef& actor = plan.actors(a);
    for (bool output : {false, true}) {
      const auto& ids = output ? actor.outputs() : actor.inputs();
      ports += ids.size();
      for (const int id : ids) {
        const bool known = id >= 0 && id < plan.channels_size();
        if (!known ||
            (output ? plan.channels(id).producer() != a : !Consumes(plan.channels(id), a))) {
          return absl::InvalidArgumentError(absl::StrCat(
              "actor `", actor.name(), "` names channel ", id, " as ", output ? "output" : "input",
              known ? ", the channel does not name it" : ""));
        }
        const int port = 2 * a + (output ? 1 : 0);
        if (seen[id] == port) {
          return absl::InvalidArgumentError(
              absl::StrCat("actor `", actor.name(), "` names channel ", id, " twice"));
        }
        seen[id] = port;
      }
    }
  }
  size_t ends = 0;
  for (const ChannelDef& channel : plan.channels()) ends += 1 + channel.consumers_size();
  if (ports == ends) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("channels have ", ends, " ends, actors name ", ports, " of them"));
}

// Messages leave after one of the firing's calls.
absl::Status CheckDepartures(const Plan& plan) {
  for (const ActorDef& actor : plan.actors()) {
    for (const bool output : {false, true}) {
      const auto& after = output ? actor.full_after() : actor.free_after();
      const int ports = output ? actor.outputs_size() : actor.inputs_size();
      const char* const name = output ? "full_after" : "free_after";
      if (after.size() != 0 && after.size() != ports) {
        return absl::InvalidArgumentError(absl::StrCat(
            "actor `", actor.name(), "`: ", name, " has ", after.size(), " entries, not ", ports));
      }
      for (const int calls : after) {
        if (calls >= 1 && calls <= actor.compute().calls_size()) continue;
        return absl::InvalidArgumentError(absl::StrCat("actor `", actor.name(), "`: ", name, " ",
                                                       calls, " of ", actor.compute().calls_size(),
                                                       " calls"));
      }
    }
  }
  return absl::OkStatus();
}

// Seconds into a firing at which the message of port number `port` leaves, of which `after` says
// after how many calls; -1: at the end.
double SecondsAfter(const ActorDef& actor, const google::protobuf::RepeatedField<int32_t>& after,
                    int port) {
  if (port >= after.size() || after[port] >= actor.compute().calls_size()) return -1;
  double seconds = 0;
  for (int c = 0; c < after[port]; ++c) seconds += actor.compute().calls(c).seconds();
  return std::min(seconds, actor.seconds());
}

// Fills in when messages leave within firings.
void SetDepartures(const Plan& plan, MarkedGraph& graph) {
  for (int a = 0; a < plan.actors_size(); ++a) {
    const ActorDef& actor = plan.actors(a);
    for (int i = 0; i < actor.outputs_size(); ++i) {
      const int channel = actor.outputs(i);
      if (channel < 0 || channel >= plan.channels_size()) continue;  // CheckPorts says so
      graph.channels[channel].after = SecondsAfter(actor, actor.full_after(), i);
    }
    for (int i = 0; i < actor.inputs_size(); ++i) {
      const int channel = actor.inputs(i);
      if (channel < 0 || channel >= plan.channels_size()) continue;
      for (MarkedGraph::Consumer& consumer : graph.channels[channel].consumers) {
        if (consumer.actor == a) consumer.after = SecondsAfter(actor, actor.free_after(), i);
      }
    }
  }
}

}  // namespace

MarkedGraph ToMarkedGraph(const Plan& plan) {
  MarkedGraph graph;
  graph.streams = plan.streams_size();
  for (const ActorDef& def : plan.actors()) {
    graph.actors.push_back({.name = def.name(),
                            .stream = def.stream(),
                            .firings_per_step = def.firings_per_step(),
                            .seconds = def.seconds()});
  }
  for (const ChannelDef& def : plan.channels()) {
    MarkedGraph::Channel channel{.name = def.name(),
                                 .producer = def.producer(),
                                 .consumers = {},
                                 .slots = def.slots(),
                                 .writes_per_slot = def.writes_per_slot(),
                                 .initial = def.initial()};
    for (const ConsumerDef& consumer : def.consumers()) {
      channel.consumers.push_back(
          {.actor = consumer.actor(), .reads_per_slot = consumer.reads_per_slot()});
    }
    graph.channels.push_back(std::move(channel));
  }
  for (const StreamDef& def : plan.streams()) {
    graph.lists.emplace_back(def.order().begin(), def.order().end());
  }
  SetDepartures(plan, graph);
  return graph;
}

absl::Status CheckPlan(const Plan& plan) {
  if (plan.world_size() < 1 || plan.rank() < 0 || plan.rank() >= plan.world_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", plan.rank(), " of ", plan.world_size()));
  }
  for (const StreamDef& stream : plan.streams()) {
    if (stream.dynamic()) {
      return absl::UnimplementedError(absl::StrCat(
          "stream `", stream.name(), "` is dynamic; this build runs fixed lists only"));
    }
  }
  const MarkedGraph graph = ToMarkedGraph(plan);
  WEFT_RETURN_IF_ERROR(Check(graph));
  WEFT_RETURN_IF_ERROR(CheckPorts(plan));
  WEFT_RETURN_IF_ERROR(CheckDepartures(plan));
  const Schedule schedule = RunMarkedGraph(graph, kDryRunSteps);
  if (schedule.complete()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the plan would never end:\n  ", absl::StrJoin(schedule.stuck, "\n  ")));
}

}  // namespace weft
