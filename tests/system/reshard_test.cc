// Every conversion of the conformance table (tests/support/reshard_cases.h), executed on 8 ranks of
// one process: every rank's part is right, and the bytes sent are those predicted.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "tests/support/reshard_cases.h"
#include "tests/support/reshard_run.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

using testing::ReshardCase;
using testing::ReshardCases;

void RunAll(const CostModel& cost) {
  const std::vector<ReshardCase> cases = ReshardCases::All();
  std::map<std::string, int> run;
  testing::RunRanks(8, {}, [&](Transport& transport) {
    std::map<std::string, int> counts = testing::RunReshardCases(transport, cases, cost);
    if (transport.rank() == 0) run = std::move(counts);
  });
  EXPECT_EQ(run, testing::ReshardRowCounts());
  int total = 0;
  for (const auto& [row, count] : run) {
    std::printf("%-4s %5d cases\n", row.c_str(), count);
    total += count;
  }
  std::printf("all  %5d cases, each on 8 ranks\n", total);
}

TEST(ReshardTable, EveryCaseOnItsRanks) { RunAll(CostModel()); }

// A split that becomes partial beside partials by other monoids stays where it is: gaps hold what
// neither the inner nor the outer of them minds. Every place of the split among three axes, every
// monoid of the three, floats and integers.
TEST(ReshardTable, SplitsBesidePartialsPadInPlace) {
  const Mesh mesh = *Mesh::Parse("x:2,y:2,z:2");
  const Sbp partial[] = {Sbp::P(Monoid::kSum), Sbp::P(Monoid::kMax), Sbp::P(Monoid::kLogAddExp)};
  std::vector<ReshardCase> cases;
  for (const DType dtype : {DType::kF32, DType::kI32}) {
    for (const Sbp split : {Sbp::S(0), Sbp::S(1, IndexOrder::kZigzag)}) {
      for (int at = 0; at < 3; ++at) {
        for (int i = 0; i < 27; ++i) {
          const Layout to = {partial[i % 3], partial[i / 3 % 3], partial[i / 9]};
          Layout from = to;
          from[at] = split;
          ReshardCase c{"pads", {{5, 7}, dtype}, {{from, mesh}, {to, mesh}}};
          if (!testing::IsLegal(c.spec, c.to())) continue;
          const auto step = MakeReshardStep(c.spec, from, mesh, to, mesh);
          ASSERT_TRUE(step.ok()) << step.status();
          EXPECT_EQ(step->kind, ReshardStep::Kind::kLocal) << c.ToString();
          cases.push_back(std::move(c));
        }
      }
    }
  }
  EXPECT_EQ(cases.size(), 2u * 3 * (27 + 8));
  testing::RunRanks(8, {}, [&](Transport& transport) {
    const auto run = testing::RunReshardCases(transport, cases, CostModel());
    EXPECT_EQ(run.at("pads"), static_cast<int>(cases.size()));
  });
}

}  // namespace
}  // namespace weft
