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

}  // namespace
}  // namespace weft
