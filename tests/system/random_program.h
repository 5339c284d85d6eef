// Random programs of several ranks, by hand and not compiled: computation, all-reduces of several
// communicators and exchanges on random streams, over channels with random slots and rates,
// messages leaving early.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/marked_graph.h"
#include "tests/support/plan_builder.h"

namespace weft::testing {

using Random = std::mt19937_64;

inline int Between(Random& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<uint64_t>(high - low + 1));
}

class RandomProgram {
 public:
  explicit RandomProgram(Random& random) : random_(random), ranks_(Between(random, 2, 4)) {
    streams_ = Between(random, 2, 4);
    microbatches_ = Between(random, 1, 3);
    for (int c = Between(random, 1, 3); c > 0; --c) {
      Communicator& made = communicators_.emplace_back();
      for (int r = 0; r < ranks_; ++r) {
        made.stream_of.push_back(Between(random, 0, streams_ - 1));
        if (random() % 3 > 0) made.members.push_back(r);
      }
      if (made.members.size() < 2) made.members = {0, 1};
    }
    for (int i = Between(random, 6, 16); i > 0; --i) AddWork();
    for (int i = Between(random, 4, 24); i > 0; --i) AddChannel();
  }

  // The lists of all streams, as one run of all ranks has them; false if no run ends.
  bool Order() {
    MarkedGraph graph;
    graph.streams = ranks_ * streams_;
    for (const Actor& actor : actors_) {
      graph.actors.push_back({.name = actor.name,
                              .stream = actor.rank * streams_ + actor.stream,
                              .firings_per_step = actor.firings,
                              .seconds = 1e-3 * static_cast<double>(1 + random_() % 100),
                              .priority = static_cast<double>(random_() % 4),
                              .group = actor.group});
    }
    for (const Channel& channel : channels_) {
      graph.channels.push_back({.name = "c",
                                .producer = channel.producer,
                                .consumers = {{channel.consumer, channel.reads}},
                                .slots = channel.slots,
                                .writes_per_slot = channel.writes,
                                .initial = channel.initial});
    }
    const Schedule schedule = RunMarkedGraph(graph, 1);
    lists_.assign(graph.streams, {});
    for (int s = 0; s < graph.streams; ++s) {
      for (const Schedule::Firing& firing : schedule.streams[s]) lists_[s].push_back(firing.actor);
    }
    return schedule.complete();
  }
  // Swaps two neighbours of a random list.
  void Disturb() {
    std::vector<int>& list = lists_[random_() % lists_.size()];
    if (list.size() < 2) return;
    const size_t at = random_() % (list.size() - 1);
    std::swap(list[at], list[at + 1]);
  }

  std::vector<Plan> Plans() const {
    std::vector<Plan> plans;
    for (int r = 0; r < ranks_; ++r) plans.push_back(PlanOf(r));
    return plans;
  }

 private:
  struct Communicator {
    std::vector<int> members;
    std::vector<int> stream_of;  // by rank
  };
  struct Actor {
    std::string name;
    int rank = 0, stream = 0, firings = 1;
    int group = -1;
    int communicator = -1;        // all-reduce
    std::vector<int> peers = {};  // exchange
    int calls = 0;                // compute
  };
  struct Channel {
    int producer = 0, consumer = 0, slots = 1, writes = 1, reads = 1, initial = 0;
  };

  void AddWork() {
    const int firings = random_() % 3 == 0 ? 1 : microbatches_;
    const uint64_t kind = random_() % 4;
    if (kind < 2) {
      actors_.push_back({.name = absl::StrCat("compute", actors_.size()),
                         .rank = Between(random_, 0, ranks_ - 1),
                         .stream = Between(random_, 0, streams_ - 1),
                         .firings = firings,
                         .calls = Between(random_, 1, 3)});
      return;
    }
    const int group = groups_++;
    const int c = Between(random_, 0, static_cast<int>(communicators_.size()) - 1);
    const Communicator& communicator = communicators_[c];
    for (const int member : communicator.members) {
      Actor actor{.name = absl::StrCat(kind == 2 ? "reduce" : "swap", group),
                  .rank = member,
                  .stream = communicator.stream_of[member],
                  .firings = firings,
                  .group = group};
      if (kind == 2) {
        actor.communicator = c;
      } else {
        for (const int peer : communicator.members) {
          if (peer != member) actor.peers.push_back(peer);
        }
      }
      actors_.push_back(std::move(actor));
    }
  }

  // From an earlier actor of a rank to a later one, or back with a step's worth of slots full.
  void AddChannel() {
    int from = Between(random_, 0, static_cast<int>(actors_.size()) - 1);
    int to = Between(random_, 0, static_cast<int>(actors_.size()) - 1);
    if (from == to || actors_[from].rank != actors_[to].rank) return;
    if (from > to) std::swap(from, to);
    Channel channel;
    const bool back = random_() % 4 == 0;
    channel.producer = back ? to : from;
    channel.consumer = back ? from : to;
    const int writes = actors_[channel.producer].firings, reads = actors_[channel.consumer].firings;
    if (writes != reads || random_() % 3 == 0) {
      channel.writes = writes;
      channel.reads = reads;
    }
    channel.initial = back ? 1 : 0;
    channel.slots = channel.initial + Between(random_, 1, 3);
    channels_.push_back(channel);
  }

  Plan PlanOf(int rank) const {
    constexpr int64_t kElements = 4;
    PlanBuilder b(rank, ranks_);
    for (int s = 0; s < streams_; ++s) b.Stream(absl::StrCat("stream", s));
    std::map<int, int> local;  // by actor of the program
    Random random(static_cast<uint64_t>(rank) + actors_.size());
    for (size_t a = 0; a < actors_.size(); ++a) {
      const Actor& actor = actors_[a];
      if (actor.rank != rank) continue;
      const int id = b.Actor(actor.name, actor.stream, actor.firings);
      local[static_cast<int>(a)] = id;
      for (int call = 0; call < actor.calls; ++call) b.Call(id, "nothing", {}, {});
      if (actor.group < 0) continue;
      const int in = b.Buffer("in", kElements);
      const int out = b.Buffer("out", kElements);
      if (actor.communicator >= 0) {
        const std::vector<int>& members = communicators_[actor.communicator].members;
        AllReduceDef* reduce =
            b.AllReduce(id, actor.communicator, PlanBuilder::At(in), PlanBuilder::At(out));
        reduce->mutable_ranks()->Assign(members.begin(), members.end());
      } else {
        ExchangeDef* exchange =
            b.Exchange(id, actor.group, PlanBuilder::At(in), PlanBuilder::At(out));
        exchange->set_combine(true);
        for (const int peer : actor.peers) {
          PlanBuilder::Piece(exchange->add_sends(), peer, Box::Whole({kElements}));
          PlanBuilder::Piece(exchange->add_receives(), peer, Box::Whole({kElements}));
        }
      }
    }
    b.PlaceStaging();
    for (const Channel& channel : channels_) {
      if (actors_[channel.producer].rank != rank) continue;
      b.Channel("c", local[channel.producer], {{local[channel.consumer], channel.reads}},
                channel.slots, 0, channel.writes, channel.initial);
    }
    // Any call will do: none touches what the channels stand for.
    for (ActorDef& actor : *b.plan().mutable_actors()) {
      const int calls = actor.compute().calls_size();
      if (calls == 0 || random() % 2 == 0) continue;
      for (int i = 0; i < actor.inputs_size(); ++i) actor.add_free_after(Between(random, 1, calls));
      for (int i = 0; i < actor.outputs_size(); ++i) {
        actor.add_full_after(Between(random, 1, calls));
      }
    }
    for (int s = 0; s < streams_; ++s) {
      for (const int a : lists_[rank * streams_ + s]) b.Order({local[a]});
    }
    return b.plan();
  }

  Random& random_;
  const int ranks_;
  int streams_ = 1, microbatches_ = 1, groups_ = 0;
  std::vector<Communicator> communicators_;
  std::vector<Actor> actors_;
  std::vector<Channel> channels_;
  std::vector<std::vector<int>> lists_;  // by rank and stream
};

}  // namespace weft::testing
