#include "launcher/stop_rule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace weft {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

TEST(StopRule, StepsAloneEndARunByDefault) {
  const StopRule rule{.steps = 50};
  EXPECT_FALSE(rule.Stops(49, 1e9, kNone));
  EXPECT_TRUE(rule.Stops(50, 0, kNone));
  const TimeLeft left = rule.Left(10, 100, kNone, 2);
  EXPECT_EQ(left.seconds, 80);
  EXPECT_TRUE(left.by_steps);
  EXPECT_FALSE(left.at_most);
}

TEST(StopRule, MinutesAloneEndARun) {
  const StopRule rule{.steps = 100000, .minutes = 3};
  EXPECT_FALSE(rule.Stops(10, 179, kNone));
  EXPECT_TRUE(rule.Stops(10, 180, kNone));
  const TimeLeft left = rule.Left(10, 60, kNone, 2);
  EXPECT_EQ(left.seconds, 120);
  EXPECT_FALSE(left.by_steps);
}

TEST(StopRule, TheLastEvaluationCountsNotTheBest) {
  const StopRule rule{.steps = 100000, .minutes = 3, .until_loss = 1.5, .max_minutes = 12};
  EXPECT_FALSE(rule.Stops(10, 60, 1.4));      // too early
  EXPECT_TRUE(rule.Stops(10, 200, 1.4));      // below
  EXPECT_FALSE(rule.Stops(20, 300, 1.6));     // it was below once, now it is not
  EXPECT_TRUE(rule.Stops(30, 12 * 60, 1.6));  // no more time
}

TEST(StopRule, AGoalNotYetReachedMakesTheTimeAnUpperBound) {
  const StopRule rule{.steps = 100000, .minutes = 3, .until_loss = 1.5, .max_minutes = 12};
  const TimeLeft open = rule.Left(10, 60, 1.6, 2);
  EXPECT_TRUE(open.at_most);
  EXPECT_EQ(open.seconds, 11 * 60);
  const TimeLeft reached = rule.Left(10, 60, 1.4, 2);
  EXPECT_FALSE(reached.at_most);
  EXPECT_EQ(reached.seconds, 2 * 60);
  EXPECT_EQ(rule.Left(10, 1e4, 1.6, 2).seconds, 0);
}

TEST(StopRule, AnUnknownStepTimeSaysNothing) {
  EXPECT_TRUE(std::isnan(StopRule{.steps = 5}.Left(1, 0, kNone, std::nan("")).seconds));
}

}  // namespace
}  // namespace weft
