#include "runtime/marked_graph.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int> ActorsOf(const std::vector<Schedule::Firing>& firings) {
  std::vector<int> actors;
  for (const Schedule::Firing& firing : firings) actors.push_back(firing.actor);
  return actors;
}

// a (1 s) on stream 0 feeds b (2 s) on stream 1.
MarkedGraph TwoActors(int slots) {
  MarkedGraph graph;
  graph.streams = 2;
  graph.actors = {{.name = "a", .stream = 0, .firings_per_step = 3, .seconds = 1},
                  {.name = "b", .stream = 1, .firings_per_step = 3, .seconds = 2}};
  graph.channels = {{.name = "x", .producer = 0, .consumers = {{1, 1}}, .slots = slots}};
  return graph;
}

TEST(MarkedGraphTest, SlotsDecideTheOverlap) {
  EXPECT_EQ(RunMarkedGraph(TwoActors(1), 1).seconds, 9);
  EXPECT_EQ(RunMarkedGraph(TwoActors(2), 1).seconds, 7);
  EXPECT_EQ(RunMarkedGraph(TwoActors(2), 2).seconds, 13);
}

TEST(MarkedGraphTest, PriorityThenArrivalThenSequence) {
  MarkedGraph graph;
  graph.streams = 2;
  graph.actors = {{.name = "late", .stream = 0, .seconds = 1},
                  {.name = "low", .stream = 0, .seconds = 3},
                  {.name = "high", .stream = 0, .seconds = 1, .priority = 1},
                  {.name = "source", .stream = 1, .seconds = 1}};
  graph.channels = {{.name = "x", .producer = 3, .consumers = {{2, 1}, {0, 1}}}};
  ASSERT_TRUE(Check(graph).ok());
  EXPECT_THAT(ActorsOf(RunMarkedGraph(graph, 1).streams[0]), ElementsAre(1, 2, 0));
}

// What has begun goes on before what begins later, whatever the priorities.
TEST(MarkedGraphTest, EarlierRoundsGoFirst) {
  MarkedGraph graph;
  graph.streams = 1;
  graph.actors = {
      {.name = "forward", .stream = 0, .firings_per_step = 2, .seconds = 1, .priority = 9},
      {.name = "backward", .stream = 0, .firings_per_step = 2, .seconds = 1, .priority = 1},
      {.name = "update", .stream = 0, .seconds = 1, .round = 2, .priority = 5}};
  graph.channels = {{.name = "x", .producer = 0, .consumers = {{1, 1}}, .slots = 2}};
  ASSERT_TRUE(Check(graph).ok());
  EXPECT_THAT(ActorsOf(RunMarkedGraph(graph, 1).streams[0]), ElementsAre(0, 1, 0, 1, 2));
}

TEST(MarkedGraphTest, MessagesMayLeaveWithinAFiring) {
  MarkedGraph graph = TwoActors(1);
  graph.actors[0].seconds = 4;
  EXPECT_EQ(RunMarkedGraph(graph, 1).seconds, 3 * (4 + 2));  // one after the other
  graph.channels[0].after = 1;  // full: b runs under the rest of a
  const Schedule full = RunMarkedGraph(graph, 1);
  EXPECT_EQ(full.streams[1][0].start, 1);
  EXPECT_EQ(full.seconds, 3 * 4);
  graph.channels[0].after = -1;
  graph.channels[0].consumers[0].after = 0.5;  // free: the next a runs under the rest of b
  const Schedule free = RunMarkedGraph(graph, 1);
  EXPECT_EQ(free.streams[0][1].start, 4.5);
  EXPECT_EQ(free.seconds, 3 * 4.5 + 1.5);
  graph.channels[0].consumers[0].after = 3;  // of 2
  EXPECT_THAT(std::string(Check(graph).message()), HasSubstr("lets go 3 s into a firing of 2 s"));
}

TEST(MarkedGraphTest, ListsOverruleReadiness) {
  MarkedGraph graph = TwoActors(2);
  graph.actors.push_back({.name = "c", .stream = 1, .seconds = 1});
  graph.lists = {{0, 0, 0}, {1, 1, 1, 2}};
  ASSERT_TRUE(Check(graph).ok());
  EXPECT_THAT(ActorsOf(RunMarkedGraph(graph, 1).streams[1]), ElementsAre(1, 1, 1, 2));
}

TEST(MarkedGraphTest, GroupsFireTogether) {
  MarkedGraph graph;
  graph.streams = 3;
  graph.actors = {{.name = "slow", .stream = 2, .seconds = 5},
                  {.name = "r0", .stream = 0, .seconds = 1, .group = 0},
                  {.name = "r1", .stream = 1, .seconds = 2, .group = 0}};
  graph.channels = {{.name = "x", .producer = 0, .consumers = {{2, 1}}}};
  ASSERT_TRUE(Check(graph).ok());
  const Schedule schedule = RunMarkedGraph(graph, 1);
  EXPECT_EQ(schedule.streams[0][0].start, 5);
  EXPECT_EQ(schedule.streams[0][0].end, 7);
  EXPECT_EQ(schedule.streams[1][0].start, 5);
}

TEST(MarkedGraphTest, ListsThatCrossAreACycle) {
  // Two collectives whose order differs between two ranks.
  MarkedGraph graph;
  graph.streams = 2;
  graph.actors = {{.name = "p0", .stream = 0, .group = 0}, {.name = "p1", .stream = 1, .group = 0},
                  {.name = "q0", .stream = 0, .group = 1}, {.name = "q1", .stream = 1, .group = 1}};
  EXPECT_TRUE(RunMarkedGraph(graph, 3).complete());
  graph.lists = {{0, 2}, {3, 1}};
  ASSERT_TRUE(Check(graph).ok());
  const Schedule schedule = RunMarkedGraph(graph, 1);
  ASSERT_FALSE(schedule.complete());
  EXPECT_EQ(schedule.stuck.size(), 4u);
  EXPECT_THAT(schedule.stuck[0], HasSubstr("`p0` (firing 0) waits: `p1` of its group"));
}

TEST(MarkedGraphTest, CheckNamesWhatIsWrong) {
  MarkedGraph graph = TwoActors(1);
  graph.channels[0].writes_per_slot = 3;
  EXPECT_THAT(std::string(Check(graph).message()),
              HasSubstr("channel `x`: a step fills 1 slots but consumer `b` empties 3"));
  graph = TwoActors(1);
  graph.lists = {{0, 0, 0}, {1, 1}};
  EXPECT_THAT(std::string(Check(graph).message()), HasSubstr("`b` fires 3 times a step"));
  graph = TwoActors(1);
  graph.channels[0].consumers[0].actor = 9;
  EXPECT_FALSE(Check(graph).ok());
}

}  // namespace
}  // namespace weft
