#include "actors/simulation_waits.h"

#include <algorithm>
#include <map>
#include <utility>

namespace weft {
namespace {

// Which firing an actor's firing needed, and when that had ended.
struct Release {
  int actor = -1;  // -1: nothing, ready from the start
  int64_t firing = 0;
  double end = 0;
};

class WaitFinder {
 public:
  WaitFinder(const MarkedGraph& graph, const Schedule& schedule) : graph_(graph) {
    ports_.resize(graph.actors.size());
    members_.resize(graph.actors.size());
    times_.resize(graph.actors.size());
    for (int c = 0; c < static_cast<int>(graph.channels.size()); ++c) {
      ports_[graph.channels[c].producer].push_back({c, -1});
      for (int i = 0; i < static_cast<int>(graph.channels[c].consumers.size()); ++i) {
        ports_[graph.channels[c].consumers[i].actor].push_back({c, i});
      }
    }
    for (int a = 0; a < static_cast<int>(graph.actors.size()); ++a) {
      if (graph.actors[a].group >= 0) members_[graph.actors[a].group].push_back(a);
    }
    for (const std::vector<Schedule::Firing>& stream : schedule.streams) {
      double free = 0;
      for (const Schedule::Firing& firing : stream) {  // an actor's firings come in order
        times_[firing.actor].push_back({free, firing.end});
        free = firing.end;
      }
    }
  }

  // The latest of all that the firing needed of channels.
  Release LatestOf(int actor, int64_t firing) const {
    Release latest;
    for (const Port& port : ports_[actor]) {
      const MarkedGraph::Channel& c = graph_.channels[port.channel];
      if (port.consumer >= 0) {
        const int64_t slot = firing / c.consumers[port.consumer].reads_per_slot - c.initial;
        if (slot >= 0) Consider(c.producer, (slot + 1) * c.writes_per_slot - 1, &latest);
        continue;
      }
      const int64_t freed = c.initial + firing / c.writes_per_slot - c.slots;
      if (freed < 0 || firing % c.writes_per_slot != 0) continue;
      for (const MarkedGraph::Consumer& consumer : c.consumers) {
        Consider(consumer.actor, (freed + 1) * consumer.reads_per_slot - 1, &latest);
      }
    }
    return latest;
  }

  // The member of the actor's group that was ready last, and when the actor itself was.
  std::pair<int, double> LastMember(int actor, int64_t firing, double* own) const {
    const auto ready = [&](int member) {
      return std::max(LatestOf(member, firing).end, times_[member][firing].free);
    };
    *own = ready(actor);
    std::pair<int, double> last(actor, *own);
    if (graph_.actors[actor].group < 0) return last;
    for (int member : members_[graph_.actors[actor].group]) {
      if (const double at = ready(member); at > last.second) last = {member, at};
    }
    return last;
  }

 private:
  struct Port {
    int channel;
    int consumer;  // -1: the producer
  };
  struct Times {
    double free;  // when the stream's firing before it ended
    double end;
  };

  void Consider(int actor, int64_t firing, Release* latest) const {
    const double end = times_[actor][firing].end;
    if (end > latest->end) *latest = {actor, firing, end};
  }

  const MarkedGraph& graph_;
  std::vector<std::vector<Port>> ports_;   // by actor
  std::vector<std::vector<int>> members_;  // by group
  std::vector<std::vector<Times>> times_;  // by actor and firing
};

}  // namespace

std::vector<Simulation::Wait> FindWaits(const MarkedGraph& graph,
                                        const std::vector<SimulatedActor>& actors,
                                        const Schedule& schedule, int steps) {
  const WaitFinder finder(graph, schedule);
  std::map<std::pair<std::string, std::string>, std::map<int, Simulation::Wait>> found;
  for (const std::vector<Schedule::Firing>& stream : schedule.streams) {
    double free = 0;
    for (const Schedule::Firing& firing : stream) {
      const double gap = firing.start - std::exchange(free, firing.end);
      if (gap <= 0 || !actors[firing.actor].computes) continue;
      const Release release = finder.LatestOf(firing.actor, firing.index);
      if (release.actor < 0) continue;
      const SimulatedActor& waiting = actors[firing.actor];
      const std::string& cause = actors[release.actor].name;
      Simulation::Wait& wait = found[{waiting.name, cause}][waiting.rank];
      wait.seconds += gap / steps;
      wait.rank = waiting.rank;
      wait.actor = waiting.name;
      wait.cause = cause;
      double own = 0;
      const auto [last, ready] = finder.LastMember(release.actor, release.firing, &own);
      if (ready - own > wait.late_seconds) {
        wait.late_rank = actors[last].rank;
        wait.late_seconds = ready - own;
      }
    }
  }
  std::vector<Simulation::Wait> waits;
  for (const auto& [names, by_rank] : found) {
    const auto longest = std::max_element(
        by_rank.begin(), by_rank.end(),
        [](const auto& a, const auto& b) { return a.second.seconds < b.second.seconds; });
    waits.push_back(longest->second);
  }
  std::stable_sort(waits.begin(), waits.end(),
                   [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  return waits;
}

}  // namespace weft
