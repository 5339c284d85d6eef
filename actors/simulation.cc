#include "actors/simulation.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "actors/plan_check.h"
#include "actors/plan_messages.h"
#include "actors/simulation_waits.h"
#include "runtime/box_proto.h"
#include "runtime/dtype.h"
#include "runtime/marked_graph.h"
#include "runtime/status.h"

namespace weft {
namespace {

using Interval = std::pair<double, double>;

// Merges intervals that touch or overlap.
std::vector<Interval> Merge(std::vector<Interval> intervals) {
  std::sort(intervals.begin(), intervals.end());
  std::vector<Interval> merged;
  for (const Interval& i : intervals) {
    if (!merged.empty() && i.first <= merged.back().second) {
      merged.back().second = std::max(merged.back().second, i.second);
    } else {
      merged.push_back(i);
    }
  }
  return merged;
}

// How much of `a` lies outside of `b`.
double MeasureOutside(const std::vector<Interval>& a, const std::vector<Interval>& b) {
  const std::vector<Interval> covers = Merge(b);
  double sum = 0;
  size_t next = 0;
  for (const auto& [begin, end] : Merge(a)) {
    double at = begin;
    while (next < covers.size() && covers[next].second <= begin) ++next;
    for (size_t i = next; i < covers.size() && covers[i].first < end; ++i) {
      sum += std::max(0.0, covers[i].first - at);
      at = std::max(at, covers[i].second);
    }
    sum += std::max(0.0, end - at);
  }
  return sum;
}

absl::StatusOr<int64_t> MemoryOf(const Plan& plan) {
  int64_t bytes = plan.arena_bytes();
  for (const VariableBindingDef& variable : plan.variables()) {
    WEFT_ASSIGN_OR_RETURN(const Box box, FromProto(variable.box()));
    bytes += box.elements() * SizeOf(static_cast<DType>(variable.dtype()));
  }
  return bytes;
}

class Simulator {
 public:
  Simulator(int world_size, const LinkTable& links, std::vector<int> twins)
      : links_(links), twins_(std::move(twins)) {
    result_.ranks.resize(world_size);
    first_actor_.resize(world_size, 0);
    first_stream_.resize(world_size, 0);
    if (twins_.empty()) {
      twins_.resize(world_size);
      std::iota(twins_.begin(), twins_.end(), 0);
    }
  }

  absl::Status Add(const Plan& plan);
  absl::StatusOr<Simulation> Run(int steps, const std::vector<int>& recorded);

 private:
  // An exchange of one rank: it fires with those of its peers.
  struct Exchange {
    int actor;
    std::vector<int> peers;
  };
  // All-reduces meet by their group and by their place among those of the group.
  struct ReduceKey {
    std::vector<int> ranks;
    int communicator;
    int place;
    auto operator<=>(const ReduceKey&) const = default;
  };

  absl::Status AddMessages(const Plan& plan, int index, int actor);
  absl::Status CheckPeer(int rank) const;
  absl::Status AddReduces(const Plan& plan, int first_actor);
  absl::Status GroupReduces();
  absl::Status GroupExchanges();
  void Measure(const Schedule& schedule, int steps);
  void Record(const Schedule& schedule, int rank);

  const LinkTable& links_;
  std::vector<int> twins_;  // by rank
  Simulation result_;
  MarkedGraph graph_;
  std::vector<SimulatedActor> actors_;
  std::map<int, std::map<int, Exchange>> exchanges_;  // by tag and rank
  std::map<ReduceKey, std::vector<int>> reduces_;
  int groups_ = 0;
  std::vector<int> first_actor_, first_stream_;  // by rank that is run
};

absl::Status Simulator::AddMessages(const Plan& plan, int index, int actor) {
  const ActorDef& def = plan.actors(index);
  WEFT_ASSIGN_OR_RETURN(const std::vector<PlanMessage> messages, MessagesOf(plan, index));
  if (messages.empty()) return absl::OkStatus();
  std::vector<int> peers;
  for (const PlanMessage& message : messages) {
    WEFT_RETURN_IF_ERROR(CheckPeer(message.peer));
    peers.push_back(twins_[message.peer]);
  }
  const MessageCost cost = CostOf(messages, plan.rank(), links_);
  result_.ranks[plan.rank()].bytes_sent += cost.bytes_sent * def.firings_per_step();
  actors_[actor].communicates = true;
  graph_.actors[actor].seconds = std::max(cost.sending, cost.receiving);
  if (def.has_exchange()) {
    exchanges_[def.exchange().tag()][plan.rank()] = {actor, std::move(peers)};
  }
  return absl::OkStatus();
}

absl::Status Simulator::CheckPeer(int rank) const {
  const int world_size = static_cast<int>(twins_.size());
  if (rank >= 0 && rank < world_size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("peer ", rank, " of ", world_size, " ranks"));
}

absl::Status Simulator::AddReduces(const Plan& plan, int first_actor) {
  std::map<ReduceKey, int> places;  // with place 0: how many came before
  std::vector<bool> seen(plan.actors_size(), false);
  for (const StreamDef& stream : plan.streams()) {
    for (int index : stream.order()) {
      const ActorDef& def = plan.actors(index);
      if (!def.has_all_reduce() || seen[index]) continue;
      seen[index] = true;
      const AllReduceDef& reduce = def.all_reduce();
      for (int rank : reduce.ranks()) WEFT_RETURN_IF_ERROR(CheckPeer(rank));
      std::set<int> members;
      for (int rank : reduce.ranks()) members.insert(twins_[rank]);
      ReduceKey key{{members.begin(), members.end()}, reduce.communicator(), 0};
      key.place = places[key]++;
      reduces_[key].push_back(first_actor + index);
    }
  }
  return absl::OkStatus();
}

absl::Status Simulator::Add(const Plan& plan) {
  const int world_size = static_cast<int>(result_.ranks.size());
  if (plan.world_size() != world_size || plan.rank() < 0 || plan.rank() >= world_size) {
    return absl::InvalidArgumentError(absl::StrCat("the plan is of rank ", plan.rank(), " of ",
                                                   plan.world_size(), ", not of ", world_size));
  }
  MarkedGraph part = ToMarkedGraph(plan);
  WEFT_RETURN_IF_ERROR(Check(part));
  if (result_.streams.empty()) {
    for (const StreamDef& stream : plan.streams()) result_.streams.push_back(stream.name());
  }
  if (static_cast<int>(result_.streams.size()) != part.streams) {
    return absl::InvalidArgumentError(
        absl::StrCat(part.streams, " streams, not ", result_.streams.size(), " as the first rank"));
  }
  Simulation::Rank& rank = result_.ranks[plan.rank()];
  rank.busy.assign(part.streams, 0);
  WEFT_ASSIGN_OR_RETURN(rank.memory_bytes, MemoryOf(plan));
  const int first_actor = static_cast<int>(graph_.actors.size());
  first_actor_[plan.rank()] = first_actor;
  first_stream_[plan.rank()] = graph_.streams;
  for (int a = 0; a < plan.actors_size(); ++a) {
    MarkedGraph::Actor& actor = part.actors[a];
    actors_.push_back({plan.rank(), actor.name, plan.actors(a).has_compute(), false});
    absl::StrAppend(&actor.name, " on rank ", plan.rank());
    actor.stream += graph_.streams;
    graph_.actors.push_back(std::move(actor));
    WEFT_RETURN_IF_ERROR(Annotate(AddMessages(plan, a, first_actor + a),
                                  absl::StrCat("actor `", plan.actors(a).name(), "`")));
    // A conversion that sends nothing is work of its rank alone.
    SimulatedActor& simulated = actors_.back();
    simulated.computes |= plan.actors(a).has_exchange() && !simulated.communicates;
  }
  for (MarkedGraph::Channel& channel : part.channels) {
    channel.producer += first_actor;
    for (MarkedGraph::Consumer& consumer : channel.consumers) consumer.actor += first_actor;
    graph_.channels.push_back(std::move(channel));
  }
  for (std::vector<int>& list : part.lists) {
    for (int& actor : list) actor += first_actor;
    graph_.lists.push_back(std::move(list));
  }
  graph_.streams += part.streams;
  return AddReduces(plan, first_actor);
}

absl::Status Simulator::GroupReduces() {
  for (const auto& [key, members] : reduces_) {
    if (members.size() != key.ranks.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "`", graph_.actors[members[0]].name, "` reduces over ranks ",
          absl::StrJoin(key.ranks, ","), ", but only ", members.size(), " of them take part"));
    }
    for (int actor : members) graph_.actors[actor].group = groups_;
    ++groups_;
  }
  return absl::OkStatus();
}

absl::Status Simulator::GroupExchanges() {
  for (const auto& [tag, by_rank] : exchanges_) {
    std::map<int, int> parent;  // ranks that are tied together, as a forest
    for (const auto& [rank, exchange] : by_rank) parent[rank] = rank;
    const auto root = [&parent](int rank) {
      while (parent[rank] != rank) rank = parent[rank] = parent[parent[rank]];
      return rank;
    };
    for (const auto& [rank, exchange] : by_rank) {
      for (int peer : exchange.peers) {
        if (parent.count(peer) == 0) {
          return absl::InvalidArgumentError(absl::StrCat("`", graph_.actors[exchange.actor].name,
                                                         "` exchanges with rank ", peer,
                                                         ", which takes no part in it"));
        }
        parent[root(peer)] = root(rank);
      }
    }
    std::map<int, int> group_of;  // by root
    for (const auto& [rank, exchange] : by_rank) {
      const auto [it, is_new] = group_of.try_emplace(root(rank), groups_);
      if (is_new) ++groups_;
      graph_.actors[exchange.actor].group = it->second;
    }
  }
  return absl::OkStatus();
}

void Simulator::Measure(const Schedule& schedule, int steps) {
  const int streams = static_cast<int>(result_.streams.size());
  std::vector<std::vector<Interval>> computing(result_.ranks.size());
  std::vector<std::vector<Interval>> communicating(result_.ranks.size());
  for (int s = 0; s < graph_.streams; ++s) {
    for (const Schedule::Firing& firing : schedule.streams[s]) {
      const SimulatedActor& actor = actors_[firing.actor];
      result_.ranks[actor.rank].busy[s % streams] += (firing.end - firing.start) / steps;
      if (actor.computes) computing[actor.rank].push_back({firing.start, firing.end});
      if (actor.communicates) communicating[actor.rank].push_back({firing.start, firing.end});
    }
  }
  for (size_t r = 0; r < result_.ranks.size(); ++r) {
    result_.ranks[r].exposed_communication = MeasureOutside(communicating[r], computing[r]) / steps;
  }
  result_.step_seconds = schedule.seconds / steps;
}

// The streams of all ranks that are run lie one after the other, and so do their actors.
void Simulator::Record(const Schedule& schedule, int rank) {
  const int streams = static_cast<int>(result_.streams.size());
  const int first_actor = first_actor_[twins_[rank]], first_stream = first_stream_[twins_[rank]];
  std::vector<std::vector<Simulation::Firing>>& lists = result_.ranks[rank].first_step;
  lists.clear();
  for (int s = 0; s < streams; ++s) {
    std::vector<Simulation::Firing>& list = lists.emplace_back();
    for (const Schedule::Firing& firing : schedule.streams[first_stream + s]) {
      if (firing.index >= graph_.actors[firing.actor].firings_per_step) continue;
      list.push_back(
          {firing.actor - first_actor, static_cast<int>(firing.index), firing.start, firing.end});
    }
  }
}

absl::StatusOr<Simulation> Simulator::Run(int steps, const std::vector<int>& recorded) {
  WEFT_RETURN_IF_ERROR(GroupReduces());
  WEFT_RETURN_IF_ERROR(GroupExchanges());
  WEFT_RETURN_IF_ERROR(Check(graph_));
  const Schedule schedule = RunMarkedGraph(graph_, steps);
  if (!schedule.complete()) {
    return absl::FailedPreconditionError(absl::StrCat("the plans would never end together:\n  ",
                                                      absl::StrJoin(schedule.stuck, "\n  ")));
  }
  Measure(schedule, steps);
  for (size_t r = 0; r < twins_.size(); ++r) result_.ranks[r] = result_.ranks[twins_[r]];
  for (int rank : recorded) Record(schedule, rank);
  result_.waits = FindWaits(graph_, actors_, schedule, steps);
  return std::move(result_);
}

}  // namespace

MessageCost CostOf(const std::vector<PlanMessage>& messages, int rank, const LinkTable& links) {
  MessageCost cost;
  std::vector<double> sending, receiving;
  for (const PlanMessage& message : messages) {
    if (message.is_send) {
      sending.push_back(links(rank, message.peer).Seconds(message.bytes));
      cost.bytes_sent += message.bytes;
    } else {
      receiving.push_back(links(message.peer, rank).Seconds(message.bytes));
    }
  }
  std::sort(sending.begin(), sending.end());
  std::sort(receiving.begin(), receiving.end());
  cost.sending = std::accumulate(sending.begin(), sending.end(), 0.0);
  cost.receiving = std::accumulate(receiving.begin(), receiving.end(), 0.0);
  return cost;
}

absl::StatusOr<Simulation> SimulatePlans(
    int world_size, const std::function<absl::StatusOr<Plan>(int rank)>& plan_of,
    const LinkTable& links, int steps, const std::vector<int>& twins,
    const std::vector<int>& recorded) {
  if (world_size < 1 || steps < 1) {
    return absl::InvalidArgumentError(absl::StrCat(steps, " steps of ", world_size, " ranks"));
  }
  if (!twins.empty() && static_cast<int>(twins.size()) != world_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("twins of ", twins.size(), " ranks, not of ", world_size));
  }
  for (int rank : recorded) {
    if (rank < 0 || rank >= world_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("the step of rank ", rank, " of ", world_size, " ranks is to be kept"));
    }
  }
  Simulator simulator(world_size, links, twins);
  for (int rank = 0; rank < world_size; ++rank) {
    if (!twins.empty() && twins[rank] != rank) continue;
    WEFT_ASSIGN_OR_RETURN(const Plan plan, plan_of(rank));
    WEFT_RETURN_IF_ERROR(Annotate(simulator.Add(plan), absl::StrCat("plan of rank ", rank)));
  }
  return simulator.Run(steps, recorded);
}

}  // namespace weft
