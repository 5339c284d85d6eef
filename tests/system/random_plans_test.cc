// Plans end, whatever the timing: random graphs as the compiler lowers them, and random programs
// written by hand, on seeded streams that take turns at random or starve each other. What the check
// over all ranks refuses does get stuck, and what it lets pass does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "actors/simulation.h"
#include "graph/graph_builder.h"
#include "kernels/all_ops.h"
#include "parallel/compile.h"
#include "runtime/marked_graph.h"
#include "tests/support/plan_builder.h"
#include "tests/support/seeded_ranks.h"
#include "tests/support/toy_kernels.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
using Random = std::mt19937_64;

int Between(Random& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<uint64_t>(high - low + 1));
}

SeededStreams::Turns TurnsOf(uint64_t seed) {
  return seed % 2 == 0 ? SeededStreams::Turns::kHighest : SeededStreams::Turns::kAnyone;
}

// The check over all ranks.
absl::Status CheckTogether(const std::vector<Plan>& plans) {
  return SimulatePlans(
             static_cast<int>(plans.size()), [&](int rank) { return plans[rank]; },
             [](int, int) { return Link{}; }, 2)
      .status();
}

// Random layers over [rows, columns], random layouts, and parameters that a sum over microbatches
// updates.
class RandomGraph {
 public:
  RandomGraph(const OpRegistry& ops, Random& random)
      : random_(random), mesh_(PickMesh(random)), g_(ops, *Mesh::Parse(mesh_)) {}

  absl::StatusOr<Graph> Make() {
    const int64_t rows = Between(random_, 4, 13), columns = Between(random_, 4, 9);
    const TensorSpec square{{columns, columns}, DType::kF32};
    std::vector<Value> values = {Laid(g_.Input("x", {{rows, columns}, DType::kF32}))};
    const auto any = [&] { return values[random_() % values.size()]; };
    std::vector<Value> parameters;
    for (int i = Between(random_, 4, 12); i > 0; --i) {
      switch (random_() % 5) {
        case 0: values.push_back(Laid(g_.Op("scale", {any()}, {{"factor", 0.5}}))); break;
        case 1: values.push_back(Laid(g_.Op("gelu", {any()}))); break;
        case 2: values.push_back(Laid(g_.Op("add", {any(), any()}))); break;
        case 3: values.push_back(Laid(g_.Op("mul", {any(), any()}))); break;
        default:
          const std::string name = absl::StrCat("w", parameters.size());
          parameters.push_back(Laid(g_.Parameter(name, square, Constant(0.01))));
          values.push_back(
              Laid(g_.Op("einsum", {any(), parameters.back()}, {{"equation", "bi,io->bo"}})));
      }
    }
    for (const Value w : parameters) {
      const Value dw = g_.Op("einsum", {any(), any()}, {{"equation", "bi,bo->io"}});
      const Value sum = Laid(g_.Op("accumulate", {dw}));
      const Value step = g_.Op("scale", {sum}, {{"factor", 1e-3}});
      const Value updated = g_.Op("add", {w, step});
      g_.Update(w, updated);
      if (random_() % 2 == 0) g_.Output(absl::StrCat("updated", w.id), updated);
    }
    g_.Output("last", values.back());
    g_.Output("any", any());
    return g_.Build();
  }

 private:
  static std::string PickMesh(Random& random) {
    constexpr const char* kMeshes[] = {"a:2", "a:3", "a:2,b:2", "a:4", "a:1"};
    return kMeshes[random() % std::size(kMeshes)];
  }

  Value Laid(Value v) {
    if (random_() % 2 == 0) return v;
    std::string layout;
    const Mesh mesh = *Mesh::Parse(mesh_);
    for (const Mesh::Axis& axis : mesh.axes()) {
      constexpr const char* kSbps[] = {"S(0)", "S(1)", "B"};
      absl::StrAppend(&layout, layout.empty() ? "[" : ", ", axis.name, ":",
                      kSbps[random_() % std::size(kSbps)]);
    }
    g_.Annotate(v, absl::StrCat(layout, "]"));
    return v;
  }

  Random& random_;
  const std::string mesh_;
  GraphBuilder g_;
};

class RandomPlans : public ::testing::Test {
 protected:
  using Fetched = std::map<std::string, std::vector<float>>;

  RandomPlans() {
    DefineAllOps(ops_);
    FillCpuKernels(ops_, kernels_);
  }

  // What three steps hand out on all ranks; parameters start at 0.01.
  absl::StatusOr<Fetched> Run(const std::vector<Plan>& plans, uint64_t seed) {
    std::vector<std::map<std::string, std::vector<float>, std::less<>>> variables(plans.size());
    Fetched fetched;
    SeededRanks ranks(static_cast<int>(plans.size()), seed, TurnsOf(seed));
    for (size_t rank = 0; rank < plans.size(); ++rank) {
      for (const VariableBindingDef& def : plans[rank].variables()) {
        variables[rank][def.name()].assign(FromProto(def.box())->elements(), 0.01f);
      }
      ExecutorOptions options{.kernels = kernels_};
      options.variables = [&mine = variables[rank]](std::string_view name) -> void* {
        return mine.find(name)->second.data();
      };
      options.feed = [](std::string_view, int64_t step, int64_t microbatch, const Operand& out) {
        for (int64_t i = 0; i < out.elements(); ++i) {
          const int64_t row = out.box->dims[0].ToLogical(i / out.shape[1]);
          const int64_t column = out.box->dims[1].ToLogical(i % out.shape[1]);
          out.as<float>()[i] =
              0.1f * static_cast<float>((step + 2 * microbatch + 3 * row + 5 * column) % 7 - 3);
        }
        return absl::OkStatus();
      };
      options.fetch = [&fetched, rank](std::string_view name, int64_t, int64_t, const Operand& in) {
        std::vector<float>& all = fetched[absl::StrCat(rank, " ", std::string(name))];
        all.insert(all.end(), in.as<float>(), in.as<float>() + in.elements());
        return absl::OkStatus();
      };
      const absl::Status added = ranks.Add(plans[rank], std::move(options));
      if (!added.ok()) return added;
    }
    const absl::Status ran = ranks.RunSteps(3);
    if (!ran.ok()) return ran;
    return fetched;
  }

  OpRegistry ops_;
  KernelTable kernels_;
};

// Compiled plans: 400, each with two seeds and the same results.
TEST_F(RandomPlans, CompiledGraphsEnd) {
  int plans_run = 0, exchanges = 0, all_reduces = 0, edges = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    Random random(seed);
    absl::StatusOr<Graph> graph = RandomGraph(ops_, random).Make();
    ASSERT_TRUE(graph.ok()) << seed << ": " << graph.status();
    CompileOptions options;
    options.microbatches = Between(random, 1, 3);
    options.cost.link_latency = random() % 2 == 0 ? 1e-7 : 1e-5;
    options.cost.link_bytes_per_second = random() % 2 == 0 ? 1e8 : 1e10;
    const absl::StatusOr<Program> program = Compile(*std::move(graph), ops_, options);
    ASSERT_TRUE(program.ok()) << seed << ": " << program.status();
    std::vector<Plan> plans;
    for (const int rank : program->graph.meshes[0].ranks()) {
      absl::StatusOr<Plan> plan = InstantiatePlan(*program, rank);
      ASSERT_TRUE(plan.ok()) << seed << ": " << plan.status();
      for (const ActorDef& actor : plan->actors()) {
        exchanges += actor.has_exchange();
        all_reduces += actor.has_all_reduce();
      }
      for (const ChannelDef& channel : plan->channels()) edges += channel.buffers_size() == 0;
      plans.push_back(*std::move(plan));
    }
    const absl::Status together = CheckTogether(plans);
    ASSERT_TRUE(together.ok()) << seed << ": " << together;
    const absl::StatusOr<Fetched> first = Run(plans, 2 * seed), second = Run(plans, 2 * seed + 1);
    ASSERT_TRUE(first.ok()) << seed << ": " << first.status();
    ASSERT_TRUE(second.ok()) << seed << ": " << second.status();
    ASSERT_EQ(*first, *second) << seed;
    ++plans_run;
  }
  EXPECT_GT(exchanges, 400);
  EXPECT_GT(all_reduces, 100);
  EXPECT_GT(edges, 100);
  RecordProperty("plans", plans_run);
}

// A program of several ranks, by hand: computation, all-reduces of several communicators and
// exchanges on random streams, over channels with random slots and rates, messages leaving early.
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
                              .priority = static_cast<int>(random_() % 4),
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

// OK, or why these plans do not run three steps; Internal if they get stuck.
absl::Status RunByHand(const std::vector<Plan>& plans, uint64_t seed) {
  const KernelTable kernels = ToyKernels();
  SeededRanks ranks(static_cast<int>(plans.size()), seed, TurnsOf(seed));
  for (const Plan& plan : plans) {
    const absl::Status added = ranks.Add(plan, ExecutorOptions{.kernels = kernels});
    if (!added.ok()) return added;
  }
  return ranks.RunSteps(3);
}

TEST_F(RandomPlans, ProgramsByHandEnd) {
  int ended = 0, tried = 0;
  for (uint64_t seed = 0; ended < 600; ++seed, ++tried) {
    ASSERT_LT(tried, 6000) << "too few random programs are valid";
    Random random(seed);
    RandomProgram program(random);
    if (!program.Order()) continue;
    const std::vector<Plan> plans = program.Plans();
    const absl::Status together = CheckTogether(plans);
    ASSERT_TRUE(together.ok()) << seed << ": " << together;
    const absl::Status ran = RunByHand(plans, seed);
    ASSERT_TRUE(ran.ok()) << seed << ": " << ran;
    ++ended;
  }
  RecordProperty("plans", ended);
}

// With lists that no longer project one order, what the check lets pass still ends. Of what it
// refuses, some ends as well, one collective taken for another: refused all the more.
TEST_F(RandomPlans, DisturbedListsEndIfTheCheckLetsThem) {
  int ends = 0, stuck = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    Random random(seed);
    RandomProgram program(random);
    if (!program.Order()) continue;
    program.Disturb();
    program.Disturb();
    const std::vector<Plan> plans = program.Plans();
    const absl::Status together = CheckTogether(plans);
    const absl::Status ran = RunByHand(plans, seed);
    if (together.ok()) {
      ASSERT_TRUE(ran.ok()) << seed << ": " << ran;
      ++ends;
    } else {
      ASSERT_TRUE(absl::IsFailedPrecondition(together) || absl::IsInvalidArgument(together))
          << together;
      stuck += ran.ok() ? 0 : 1;
    }
  }
  EXPECT_GT(ends, 20);
  EXPECT_GT(stuck, 20);
}

// Two communicators, each with one order on both ranks; the compute streams that feed them cross.
std::vector<Plan> CrossingPlans(bool crossing) {
  std::vector<Plan> plans;
  for (int rank = 0; rank < 2; ++rank) {
    PlanBuilder b(rank, 2);
    const int compute = b.Stream("compute"), one = b.Stream("one"), two = b.Stream("two");
    std::vector<int> segments;
    for (const int c : {0, 1}) {
      const int before = b.Actor(absl::StrCat("before", c), compute);
      const int reduce = b.Actor(absl::StrCat("reduce", c), c == 0 ? one : two);
      const int after = b.Actor(absl::StrCat("after", c), compute);
      const int x = b.Channel("x", before, {{reduce}}, 1, 4);
      const int y = b.Channel("y", reduce, {{after}}, 1, 4);
      b.Call(before, "nothing", {}, {b.On(x)});
      b.AllReduce(reduce, c, b.On(x), b.On(y));
      b.Call(after, "nothing", {b.On(y)}, {});
      b.Order({reduce});
      segments.push_back(before);
      segments.push_back(after);
    }
    // Rank 0 finishes with communicator 0 before it begins with 1, rank 1 the other way round.
    if (rank == 1 && crossing) {
      std::swap(segments[0], segments[2]);
      std::swap(segments[1], segments[3]);
    }
    b.Order(segments);
    plans.push_back(b.plan());
  }
  return plans;
}

TEST_F(RandomPlans, ComputeStreamsThatCrossAreRefused) {
  EXPECT_TRUE(CheckTogether(CrossingPlans(false)).ok());
  EXPECT_TRUE(RunByHand(CrossingPlans(false), 1).ok());
  const absl::Status refused = CheckTogether(CrossingPlans(true));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("would never end together"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("`reduce0 on rank 1` of its group"));
  const absl::Status stuck = RunByHand(CrossingPlans(true), 1);
  EXPECT_THAT(std::string(stuck.message()), HasSubstr("stuck"));
}

}  // namespace
}  // namespace weft::testing
