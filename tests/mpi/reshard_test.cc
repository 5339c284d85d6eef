// Every tenth conversion of the conformance table over MPI, on 8 ranks.
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/mpi_world.h"
#include "tests/support/reshard_cases.h"
#include "tests/support/reshard_run.h"

namespace weft {
namespace {

Transport* world = nullptr;  // set by main; MPI starts once per process

TEST(MpiReshard, EveryTenthCaseOfTheTable) {
  ASSERT_EQ(world->size(), 8);
  const std::vector<testing::ReshardCase> all = testing::ReshardCases::All();
  std::vector<testing::ReshardCase> sample;
  std::map<std::string, int> sampled;
  for (size_t i = 0; i < all.size(); i += 10) {
    sample.push_back(all[i]);
    ++sampled[all[i].row];
  }
  EXPECT_EQ(sample.size(), (all.size() + 9) / 10);
  const std::map<std::string, int> run = testing::RunReshardCases(*world, sample, CostModel());
  EXPECT_EQ(run, sampled);
  int total = 0;
  for (const auto& [row, count] : run) total += count;
  EXPECT_EQ(total, static_cast<int>(sample.size()));
  if (world->rank() == 0) std::printf("%d of %zu cases, each on 8 ranks\n", total, all.size());
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) { return weft::testing::RunMpiTests(argc, argv, &weft::world); }
