#include "actors/stall_summary.h"

#include "gtest/gtest.h"

namespace weft {
namespace {

using Reports = std::vector<std::optional<RankReportDef>>;

RankReportDef Waiting(const std::string& actor, const std::vector<int>& ranks) {
  RankReportDef report;
  RankWaitDef* wait = report.add_waits();
  wait->set_actor(actor);
  wait->mutable_ranks()->Assign(ranks.begin(), ranks.end());
  return report;
}

TEST(StallSummaryTest, AbsentRanksComeFirst) {
  EXPECT_EQ(StallSummary({Waiting("a", {1, 2}), std::nullopt, Waiting("a", {0, 1})}),
            "rank 1 does not answer: stopped, lost, or cut off from the others");
  EXPECT_EQ(StallSummary({std::nullopt, std::nullopt}),
            "ranks 0, 1 do not answer: stopped, lost, or cut off from the others");
}

TEST(StallSummaryTest, TheRankThatWaitsForNobodyHoldsTheOthersUp) {
  EXPECT_EQ(StallSummary({Waiting("a", {1, 2}), RankReportDef(), Waiting("a", {0, 1})}),
            "ranks 0, 2 wait for rank 1, which waits for no other rank");
  // Through another rank as well.
  EXPECT_EQ(StallSummary({Waiting("a", {1}), Waiting("b", {2}), RankReportDef()}),
            "ranks 0, 1 wait for rank 2, which waits for no other rank");
}

TEST(StallSummaryTest, RanksOfOneOperationDoNotWaitForEachOther) {
  EXPECT_EQ(StallSummary({Waiting("a", {1}), Waiting("a", {0})}),
            "ranks wait for messages alone that are on their way");
  EXPECT_EQ(StallSummary({RankReportDef(), RankReportDef()}), "no rank waits for another");
}

TEST(StallSummaryTest, ACircleIsSpelledOut) {
  EXPECT_EQ(
      StallSummary({RankReportDef(), Waiting("a", {3}), Waiting("b", {0, 1}), Waiting("c", {2})}),
      "the ranks wait in a circle: rank 1 in `a` for rank 3, rank 3 in `c` for rank 2, "
      "rank 2 in `b` for rank 1");
}

TEST(StallSummaryTest, UnknownRanksAreIgnored) {
  EXPECT_EQ(StallSummary({Waiting("a", {7, -1})}),
            "ranks wait for messages alone that are on their way");
}

}  // namespace
}  // namespace weft
