#include "actors/simulation.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/plan_builder.h"

namespace weft {
namespace {

using ::testing::HasSubstr;
using testing::PlanBuilder;

constexpr int64_t kElements = 4;  // f32

// forward -> all-reduce -> update, over all ranks.
Plan Reducing(int rank, int world_size, double forward_seconds) {
  PlanBuilder b(rank, world_size);
  const int compute = b.Stream("compute"), network = b.Stream("network");
  const int forward = b.Actor("forward", compute, 1, forward_seconds);
  const int reduce = b.Actor("reduce", network, 1, 0);
  const int update = b.Actor("update", compute, 1, 1.0);
  const int g = b.Channel("g", forward, {{reduce}}, 1, kElements);
  const int s = b.Channel("s", reduce, {{update}}, 1, kElements);
  b.AllReduce(reduce, 0, b.On(g), b.On(s));
  b.Order({forward, reduce, update});
  return b.plan();
}

absl::StatusOr<Simulation> Simulate(const std::vector<Plan>& plans, const Link& link,
                                    int steps = 1) {
  return SimulatePlans(
      static_cast<int>(plans.size()), [&plans](int rank) { return plans[rank]; },
      [&link](int, int) { return link; }, steps);
}

TEST(SimulationTest, NamesTheRankThatComesLast) {
  const auto simulation = Simulate({Reducing(0, 2, 1.0), Reducing(1, 2, 3.0)}, {.latency = 0.5});
  ASSERT_TRUE(simulation.ok()) << simulation.status();
  EXPECT_DOUBLE_EQ(simulation->step_seconds, 4.5);
  EXPECT_DOUBLE_EQ(simulation->ranks[0].busy[0], 2);
  EXPECT_DOUBLE_EQ(simulation->ranks[1].busy[0], 4);
  // Waiting for the other rank is not communication.
  EXPECT_DOUBLE_EQ(simulation->ranks[0].exposed_communication, 0.5);
  EXPECT_DOUBLE_EQ(simulation->ranks[1].exposed_communication, 0.5);
  ASSERT_EQ(simulation->waits.size(), 1u);
  const Simulation::Wait& wait = simulation->waits[0];
  EXPECT_EQ(wait.rank, 0);
  EXPECT_EQ(wait.actor, "update");
  EXPECT_EQ(wait.cause, "reduce");
  EXPECT_DOUBLE_EQ(wait.seconds, 2.5);
  EXPECT_EQ(wait.late_rank, 1);
  EXPECT_DOUBLE_EQ(wait.late_seconds, 2);
}

TEST(SimulationTest, MessagesTakeLatencyAndBytes) {
  for (const int ranks : {2, 3, 5}) {
    std::vector<Plan> plans;
    for (int r = 0; r < ranks; ++r) plans.push_back(Reducing(r, ranks, 1.0));
    const int64_t bytes = 4 * kElements * (ranks - 1);  // small: directly to every other rank
    const auto simulation = Simulate(plans, {.latency = 0.25, .bytes_per_second = 8}, 3);
    ASSERT_TRUE(simulation.ok()) << simulation.status();
    EXPECT_EQ(simulation->ranks[ranks - 1].bytes_sent, bytes);
    EXPECT_DOUBLE_EQ(simulation->step_seconds, 2 + 0.25 * (ranks - 1) + bytes / 8.0);
  }
}

TEST(SimulationTest, CommunicationUnderComputationIsNotExposed) {
  std::vector<Plan> plans;
  for (int r = 0; r < 2; ++r) {
    PlanBuilder b(r, 2);
    const int compute = b.Stream("compute"), network = b.Stream("network");
    const int first = b.Actor("first", compute, 1, 1.0), other = b.Actor("other", compute, 1, 0.75);
    const int reduce = b.Actor("reduce", network, 1, 0), last = b.Actor("last", compute, 1, 1.0);
    const int g = b.Channel("g", first, {{reduce}}, 1, kElements);
    const int s = b.Channel("s", reduce, {{last}}, 1, kElements);
    b.AllReduce(reduce, 0, b.On(g), b.On(s));
    b.Order({first, reduce, other, last});
    plans.push_back(b.plan());
  }
  const auto simulation = Simulate(plans, {.latency = 1.0});
  ASSERT_TRUE(simulation.ok()) << simulation.status();
  EXPECT_DOUBLE_EQ(simulation->step_seconds, 3);
  EXPECT_DOUBLE_EQ(simulation->ranks[0].exposed_communication, 0.25);
}

TEST(SimulationTest, ExchangesBindOnlyTheRanksThatTalk) {
  // Ranks 0 and 1 exchange, 2 and 3 as well, under one tag; ranks 2 and 3 are slow.
  std::vector<Plan> plans;
  for (int r = 0; r < 4; ++r) {
    PlanBuilder b(r, 4);
    const int compute = b.Stream("compute"), network = b.Stream("network");
    const int make = b.Actor("make", compute, 1, r < 2 ? 1.0 : 7.0);
    const int swap = b.Actor("swap", network, 1, 0), use = b.Actor("use", compute, 1, 1.0);
    const int x = b.Channel("x", make, {{swap}}, 1, kElements);
    const int y = b.Channel("y", swap, {{use}}, 1, kElements);
    ExchangeDef* exchange = b.Exchange(swap, 9, b.On(x), b.On(y));
    PlanBuilder::Piece(exchange->add_sends(), r ^ 1, Box::Whole({kElements}));
    PlanBuilder::Piece(exchange->add_receives(), r ^ 1, Box::Whole({kElements}));
    b.Order({make, swap, use});
    plans.push_back(b.plan());
  }
  const auto simulation = Simulate(plans, {.latency = 1.0});
  ASSERT_TRUE(simulation.ok()) << simulation.status();
  EXPECT_DOUBLE_EQ(simulation->step_seconds, 9);
  ASSERT_EQ(simulation->waits.size(), 1u);
  EXPECT_DOUBLE_EQ(simulation->waits[0].seconds, 1);  // nobody waits for the slow pair
  EXPECT_EQ(simulation->waits[0].late_rank, -1);
}

TEST(SimulationTest, PlansThatDoNotFitTogetherAreErrors) {
  Plan alone = Reducing(1, 2, 1.0);
  alone.mutable_actors(1)->mutable_compute();  // no longer an all-reduce
  EXPECT_THAT(std::string(Simulate({Reducing(0, 2, 1.0), alone}, {}).status().message()),
              HasSubstr("`reduce on rank 0` reduces over ranks 0,1, but only 1 of them take part"));
  EXPECT_FALSE(Simulate({Reducing(0, 2, 1.0), Reducing(0, 2, 1.0), Reducing(1, 2, 1.0)}, {}).ok());
}

TEST(SimulationTest, ListsThatCrossBetweenRanksAreACycle) {
  std::vector<Plan> plans;
  for (int r = 0; r < 2; ++r) {
    PlanBuilder b(r, 2);
    const int network = b.Stream("network");
    std::vector<int> order;
    for (int tag : {1, 2}) {
      const int swap = b.Actor("swap" + std::to_string(tag), network, 1, 0);
      const int in = b.Buffer("in", kElements), out = b.Buffer("out", kElements);
      ExchangeDef* exchange = b.Exchange(swap, tag, PlanBuilder::At(in), PlanBuilder::At(out));
      PlanBuilder::Piece(exchange->add_sends(), 1 - r, Box::Whole({kElements}));
      PlanBuilder::Piece(exchange->add_receives(), 1 - r, Box::Whole({kElements}));
      order.push_back(swap);
    }
    if (r == 1) std::swap(order[0], order[1]);
    b.Order(order);
    plans.push_back(b.plan());
  }
  const absl::Status status = Simulate(plans, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("`swap1 on rank 0` (firing 0) waits: `swap1 on rank 1` of its group"));
}

}  // namespace
}  // namespace weft
