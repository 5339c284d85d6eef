#include "runtime/marked_graph.h"

#include <algorithm>
#include <queue>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

// One run. A unit is what fires at once: a group, or an actor without one.
class Run {
 public:
  Run(const MarkedGraph& graph, int steps);
  Schedule Go();

 private:
  struct Port {
    int channel;
    int consumer;  // -1: the producer
  };
  struct ActorState {
    std::vector<Port> ports;
    int unit = 0;
    int64_t fired = 0;
    int64_t limit = 0;
    bool ready = false;    // its slots are at hand
    bool running = false;
  };
  struct ConsumerState {
    int64_t taken = 0;  // slots given back
    int reads = 0;      // of the slot under reading
  };
  struct ChannelState {
    int64_t filled = 0;
    int writes = 0;  // of the slot under writing
    std::vector<ConsumerState> consumers;
  };
  struct Unit {
    std::vector<int> members;
    int ready = 0;  // members with their slots at hand
    double priority = 0;
    double arrival = 0;
  };
  // Order of ready units: round, priority, arrival, sequence.
  using Key = std::tuple<int64_t, double, double, int>;
  struct StreamState {
    bool busy = false;
    int64_t position = 0;  // in the list, over all steps
    std::set<Key> ready;   // without lists
  };
  // The end of a unit's firing, or before it a message of one of its members.
  struct Event {
    double time;
    int64_t sequence;
    int unit;
    Port message;  // of no channel (-1): the end
    bool operator>(const Event& o) const {
      return std::tie(time, sequence) > std::tie(o.time, o.sequence);
    }
  };

  Key KeyOf(int unit) const {
    const int first = units_[unit].members[0];
    const MarkedGraph::Actor& def = graph_.actors[first];
    const int64_t round = def.round + actors_[first].fired % def.firings_per_step;
    return {round, -units_[unit].priority, units_[unit].arrival, first};
  }
  // Seconds into a firing at which the port's message leaves; -1: at its end.
  double After(const Port& port) const {
    const MarkedGraph::Channel& c = graph_.channels[port.channel];
    return port.consumer < 0 ? c.after : c.consumers[port.consumer].after;
  }
  int64_t Freed(int channel) const;
  bool PortOpen(const Port& port) const;
  int HeadOf(int stream) const;  // actor, or -1
  int NextUnitOf(int stream) const;
  void Look(int actor, double now);
  void TryStart(int stream, double now);
  void Finish(int unit, double now);
  void Deliver(const Port& port, double now);
  int BlockerOf(int actor, std::string* why) const;
  void Explain();

  const MarkedGraph& graph_;
  std::vector<ActorState> actors_;
  std::vector<ChannelState> channels_;
  std::vector<Unit> units_;
  std::vector<StreamState> streams_;
  std::vector<int> touched_;  // streams that may start something
  std::priority_queue<Event, std::vector<Event>, std::greater<Event>> events_;
  int64_t sequence_ = 0;
  Schedule schedule_;
};

Run::Run(const MarkedGraph& graph, int steps) : graph_(graph) {
  actors_.resize(graph.actors.size());
  channels_.resize(graph.channels.size());
  streams_.resize(graph.streams);
  schedule_.streams.resize(graph.streams);
  std::vector<int> unit_of_group(graph.actors.size(), -1);
  for (int a = 0; a < static_cast<int>(actors_.size()); ++a) {
    const MarkedGraph::Actor& def = graph.actors[a];
    actors_[a].limit = static_cast<int64_t>(def.firings_per_step) * steps;
    int unit = def.group >= 0 ? unit_of_group[def.group] : -1;
    if (unit < 0) {
      unit = static_cast<int>(units_.size());
      units_.emplace_back();
      units_[unit].priority = def.priority;
      if (def.group >= 0) unit_of_group[def.group] = unit;
    }
    actors_[a].unit = unit;
    units_[unit].members.push_back(a);
    units_[unit].priority = std::max(units_[unit].priority, def.priority);
  }
  for (int c = 0; c < static_cast<int>(channels_.size()); ++c) {
    const MarkedGraph::Channel& def = graph.channels[c];
    channels_[c].filled = def.initial;
    channels_[c].consumers.resize(def.consumers.size());
    actors_[def.producer].ports.push_back({c, -1});
    for (int i = 0; i < static_cast<int>(def.consumers.size()); ++i) {
      actors_[def.consumers[i].actor].ports.push_back({c, i});
    }
  }
}

int64_t Run::Freed(int channel) const {
  const ChannelState& c = channels_[channel];
  int64_t freed = c.filled;
  for (const ConsumerState& consumer : c.consumers) freed = std::min(freed, consumer.taken);
  return freed;
}

bool Run::PortOpen(const Port& port) const {
  const ChannelState& c = channels_[port.channel];
  if (port.consumer >= 0) return c.filled > c.consumers[port.consumer].taken;
  return c.writes > 0 || c.filled - Freed(port.channel) < graph_.channels[port.channel].slots;
}

int Run::HeadOf(int stream) const {
  const std::vector<int>& list = graph_.lists[stream];
  if (list.empty()) return -1;
  const int64_t position = streams_[stream].position;
  const int actor = list[position % static_cast<int64_t>(list.size())];
  return actors_[actor].fired < actors_[actor].limit ? actor : -1;
}

int Run::NextUnitOf(int stream) const {
  if (!graph_.lists.empty()) {
    const int head = HeadOf(stream);
    return head < 0 ? -1 : actors_[head].unit;
  }
  if (streams_[stream].ready.empty()) return -1;
  return actors_[std::get<3>(*streams_[stream].ready.begin())].unit;
}

void Run::Look(int actor, double now) {
  ActorState& a = actors_[actor];
  if (a.ready || a.running || a.fired >= a.limit) return;
  for (const Port& port : a.ports) {
    if (!PortOpen(port)) return;
  }
  a.ready = true;
  Unit& unit = units_[a.unit];
  if (++unit.ready < static_cast<int>(unit.members.size())) return;
  unit.arrival = now;
  for (int member : unit.members) {
    const int stream = graph_.actors[member].stream;
    if (graph_.lists.empty()) streams_[stream].ready.insert(KeyOf(a.unit));
    touched_.push_back(stream);
  }
}

void Run::TryStart(int stream, double now) {
  const int next = NextUnitOf(stream);
  if (next < 0) return;
  Unit& unit = units_[next];
  if (unit.ready < static_cast<int>(unit.members.size())) return;
  double seconds = 0;
  for (int member : unit.members) {
    const int s = graph_.actors[member].stream;
    if (streams_[s].busy || NextUnitOf(s) != next) return;
    seconds = std::max(seconds, graph_.actors[member].seconds);
  }
  for (int member : unit.members) {
    const int s = graph_.actors[member].stream;
    streams_[s].busy = true;
    if (graph_.lists.empty()) streams_[s].ready.erase(KeyOf(next));
    actors_[member].ready = false;
    actors_[member].running = true;
    schedule_.streams[s].push_back({member, actors_[member].fired, now, now + seconds});
    for (const Port& port : actors_[member].ports) {
      const double after = After(port);
      if (after >= 0) events_.push({now + after, sequence_++, next, port});
    }
  }
  unit.ready = 0;
  events_.push({now + seconds, sequence_++, next, {-1, -1}});
}

void Run::Deliver(const Port& port, double now) {
  const MarkedGraph::Channel& def = graph_.channels[port.channel];
  ChannelState& c = channels_[port.channel];
  if (port.consumer < 0) {
    if (++c.writes < def.writes_per_slot) return;
    c.writes = 0;
    ++c.filled;
    for (const MarkedGraph::Consumer& consumer : def.consumers) Look(consumer.actor, now);
    return;
  }
  ConsumerState& consumer = c.consumers[port.consumer];
  if (++consumer.reads < def.consumers[port.consumer].reads_per_slot) return;
  consumer.reads = 0;
  ++consumer.taken;
  Look(def.producer, now);
}

void Run::Finish(int unit, double now) {
  for (int member : units_[unit].members) {
    ActorState& a = actors_[member];
    const int stream = graph_.actors[member].stream;
    a.running = false;
    ++a.fired;
    streams_[stream].busy = false;
    ++streams_[stream].position;
    touched_.push_back(stream);
    for (const Port& port : a.ports) {
      if (After(port) < 0) Deliver(port, now);
    }
  }
  for (int member : units_[unit].members) Look(member, now);
}

// The actor for which `actor` waits, or -1 if it has fired all it should.
int Run::BlockerOf(int actor, std::string* why) const {
  const ActorState& a = actors_[actor];
  const std::string& name = graph_.actors[actor].name;
  if (a.fired >= a.limit) {
    *why = absl::StrCat("`", name, "` has fired all of its ", a.limit, " times");
    return -1;
  }
  for (const Port& port : a.ports) {
    if (PortOpen(port)) continue;
    const MarkedGraph::Channel& c = graph_.channels[port.channel];
    if (port.consumer >= 0) {
      *why = absl::StrCat("`", name, "` (firing ", a.fired, ") waits: input `", c.name, "` from `",
                          graph_.actors[c.producer].name, "`");
      return c.producer;
    }
    size_t slowest = 0;
    const ChannelState& state = channels_[port.channel];
    for (size_t i = 1; i < c.consumers.size(); ++i) {
      if (state.consumers[i].taken < state.consumers[slowest].taken) slowest = i;
    }
    const int reader = c.consumers[slowest].actor;
    *why = absl::StrCat("`", name, "` (firing ", a.fired, ") waits: output `", c.name, "`, all ",
                        c.slots, " slots held by `", graph_.actors[reader].name, "`");
    return reader;
  }
  if (!graph_.lists.empty() && HeadOf(graph_.actors[actor].stream) != actor) {
    const int head = HeadOf(graph_.actors[actor].stream);
    *why = absl::StrCat("`", name, "` (firing ", a.fired, ") waits: its turn after `",
                        graph_.actors[head].name, "` on the stream's list");
    return head;
  }
  for (int member : units_[a.unit].members) {
    const bool at_head =
        graph_.lists.empty() || HeadOf(graph_.actors[member].stream) == member;
    if (actors_[member].ready && at_head) continue;
    *why = absl::StrCat("`", name, "` (firing ", a.fired, ") waits: `", graph_.actors[member].name,
                        "` of its group");
    return member;
  }
  *why = absl::StrCat("`", name, "` waits for a stream");
  return -1;
}

void Run::Explain() {
  int at = -1;
  for (int a = 0; a < static_cast<int>(actors_.size()) && at < 0; ++a) {
    if (actors_[a].fired < actors_[a].limit) at = a;
  }
  std::vector<int> seen(actors_.size(), -1);
  std::vector<std::string> lines;
  while (at >= 0 && seen[at] < 0) {
    seen[at] = static_cast<int>(lines.size());
    std::string why;
    at = BlockerOf(at, &why);
    lines.push_back(std::move(why));
  }
  if (at >= 0) lines.erase(lines.begin(), lines.begin() + seen[at]);  // the cycle alone
  schedule_.stuck = std::move(lines);
}

Schedule Run::Go() {
  int64_t left = 0;
  for (const ActorState& a : actors_) left += a.limit;
  for (int a = 0; a < static_cast<int>(actors_.size()); ++a) Look(a, 0);
  for (int s = 0; s < graph_.streams; ++s) touched_.push_back(s);
  for (double now = 0;;) {
    std::sort(touched_.begin(), touched_.end());
    touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
    const std::vector<int> touched = std::exchange(touched_, {});
    for (int s : touched) {
      if (!streams_[s].busy) TryStart(s, now);
    }
    if (events_.empty()) break;
    now = events_.top().time;
    while (!events_.empty() && events_.top().time == now) {
      const Event event = events_.top();
      events_.pop();
      if (event.message.channel >= 0) {
        Deliver(event.message, now);
        continue;
      }
      left -= static_cast<int64_t>(units_[event.unit].members.size());
      Finish(event.unit, now);
    }
    schedule_.seconds = now;
  }
  if (left > 0) Explain();
  return std::move(schedule_);
}

}  // namespace

Schedule RunMarkedGraph(const MarkedGraph& graph, int steps) { return Run(graph, steps).Go(); }

}  // namespace weft
