// A9: 1F1B is slot counts and priorities. The order comes from a run on a clock, the plans of all
// stages then run it on seeded streams.
#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/marked_graph.h"
#include "tests/support/plan_builder.h"
#include "tests/support/seeded_ranks.h"
#include "tests/support/toy_kernels.h"

namespace weft {
namespace {

using testing::PlanBuilder;

// Actors 2s and 2s+1 are stage s's forward and backward.
MarkedGraph OneForwardOneBackward(int stages, int microbatches) {
  MarkedGraph graph;
  graph.streams = stages;
  for (int s = 0; s < stages; ++s) {
    const std::string n = std::to_string(s);
    graph.actors.push_back({.name = "f" + n, .stream = s, .firings_per_step = microbatches,
                            .seconds = 1, .priority = 0});
    graph.actors.push_back({.name = "b" + n, .stream = s, .firings_per_step = microbatches,
                            .seconds = 1, .priority = 1});
    graph.channels.push_back({.name = "saved" + n, .producer = 2 * s,
                              .consumers = {{2 * s + 1, 1}}, .slots = stages - s});
  }
  for (int s = 0; s + 1 < stages; ++s) {
    graph.channels.push_back({.name = "h", .producer = 2 * s, .consumers = {{2 * s + 2, 1}},
                              .slots = stages});
    graph.channels.push_back({.name = "dh", .producer = 2 * s + 3, .consumers = {{2 * s + 1, 1}},
                              .slots = stages});
  }
  return graph;
}

Plan StagePlan(int stage, int stages, int microbatches, const std::vector<Schedule::Firing>& list) {
  PlanBuilder b(stage, stages);
  const int compute = b.Stream("compute");
  const bool first = stage == 0, last = stage == stages - 1;
  const Box box = Box::Whole({2});
  const int fwd = b.Actor("fwd", compute, microbatches), bwd = b.Actor("bwd", compute, microbatches);
  const auto link = [&](const char* name, int tag, int peer, bool sends) {
    const int stream = b.Stream(name);
    const int actor = b.Actor(name, stream, microbatches);
    for (int m = 0; m < microbatches; ++m) b.Order({actor});
    ExchangeDef* e = b.Exchange(actor, tag, PlanBuilder::At(-1), PlanBuilder::At(-1));
    PlanBuilder::Piece(sends ? e->add_sends() : e->add_receives(), peer, box);
    return actor;
  };
  const auto host = [&](const char* name) {
    const int actor = b.Actor(name, b.Stream(name), microbatches);
    for (int m = 0; m < microbatches; ++m) b.Order({actor});
    return actor;
  };
  const int h_in = first ? host("feed") : link("receive h", 1, stage - 1, false);
  const int dh_out = first ? host("fetch") : link("send dh", 2, stage - 1, true);
  const int h = b.Channel("h", h_in, {{fwd}}, 1, 2);
  const int saved = b.Channel("saved", fwd, {{bwd}}, stages - stage, 2);
  const int dx = b.Channel("dx", bwd, {{dh_out}}, 1, 2);
  const auto set_io = [&](int actor, const OperandDef& operand, bool input) {
    ExchangeDef* e = b.plan().mutable_actors(actor)->mutable_exchange();
    *(input ? e->mutable_input() : e->mutable_output()) = operand;
  };
  first ? b.Feed(h_in, "x", b.On(h)) : set_io(h_in, b.On(h), false);
  first ? b.Fetch(dh_out, "dx", b.On(dx)) : set_io(dh_out, b.On(dx), true);
  b.Call(fwd, "increment", {b.On(h)}, {b.On(saved)});
  std::vector<OperandDef> gradient_inputs = {b.On(saved)};
  if (!last) {
    const int h_out = link("send h", 1, stage + 1, true);
    const int dh_in = link("receive dh", 2, stage + 1, false);
    const int y = b.Channel("y", fwd, {{h_out}}, 1, 2), dy = b.Channel("dy", dh_in, {{bwd}}, 1, 2);
    b.Call(fwd, "increment", {b.On(h)}, {b.On(y)});
    set_io(h_out, b.On(y), true);
    set_io(dh_in, b.On(dy), false);
    gradient_inputs.push_back(b.On(dy));
  }
  b.Call(bwd, "add", gradient_inputs, {b.On(dx)});
  for (const Schedule::Firing& firing : list) b.Order({firing.actor % 2 == 0 ? fwd : bwd});
  return b.plan();
}

TEST(PipelineTest, A9OneForwardOneBackward) {
  constexpr int kMicrobatches = 6;
  for (int stages : {2, 4}) {
    const MarkedGraph graph = OneForwardOneBackward(stages, kMicrobatches);
    ASSERT_TRUE(Check(graph).ok()) << Check(graph);
    const Schedule schedule = RunMarkedGraph(graph, 1);
    ASSERT_TRUE(schedule.complete());
    EXPECT_EQ(schedule.seconds, 2 * (kMicrobatches + stages - 1));
    for (int s = 0; s < stages; ++s) {
      int held = 0, most = 0;
      for (const Schedule::Firing& firing : schedule.streams[s]) {
        held += firing.actor % 2 == 0 ? 1 : -1;
        most = std::max(most, held);
      }
      EXPECT_EQ(most, stages - s);
    }
    const KernelTable kernels = testing::ToyKernels();
    for (int seed = 0; seed < 100; ++seed) {
      testing::SeededRanks ranks(stages, seed);
      int fetched = 0;
      for (int s = 0; s < stages; ++s) {
        ExecutorOptions options{.kernels = kernels};
        options.feed = [](std::string_view, int64_t step, int64_t m, const Operand& x) {
          x.as<float>()[0] = x.as<float>()[1] = static_cast<float>(100 * step + m);
          return absl::OkStatus();
        };
        options.fetch = [&](std::string_view, int64_t step, int64_t m, const Operand& dx) {
          // Every stage adds what it saved: x + 1, x + 2, ...
          EXPECT_EQ(dx.as<float>()[0], stages * (100 * step + m) + stages * (stages + 1) / 2);
          ++fetched;
          return absl::OkStatus();
        };
        const absl::Status added = ranks.Add(
            StagePlan(s, stages, kMicrobatches, schedule.streams[s]), std::move(options));
        ASSERT_TRUE(added.ok()) << added;
      }
      const absl::Status status = ranks.RunSteps(3);
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_EQ(fetched, 3 * kMicrobatches);
    }
  }
}

}  // namespace
}  // namespace weft
