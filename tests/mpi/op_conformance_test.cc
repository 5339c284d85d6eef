// A tenth of the table of op signatures over MPI, on 8 ranks: every row runs on the lower four and
// at the same time on the upper four, compared with the same oracle as in one process.
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/mpi_world.h"
#include "tests/system/op_row_check.h"
#include "tests/system/op_row_counts.h"
#include "tests/system/op_rows.h"

namespace weft {
namespace {

Transport* world = nullptr;  // set by main; MPI starts once per process

TEST(MpiOpConformance, ATenthOfEveryTable) {
  ASSERT_EQ(world->size(), 8);
  const int first_rank = world->rank() / 4 * 4;
  testing::OpRowCounts all, run;
  for (const testing::OpRow& row : testing::AllOpRows()) all.Add(row);
  for (const testing::OpRow& row : testing::SampledOpRows()) {
    SCOPED_TRACE(testing::Describe(row));
    testing::CheckRowAsRank(row, first_rank, *world);
    run.Add(row);
  }
  for (int id = 1; id <= testing::kOpTables; ++id) {
    const std::string table = absl::StrCat("O", id);
    EXPECT_GE(10 * run.rows(table), all.rows(table)) << table;
  }
  EXPECT_EQ(all.rows(), testing::kOpRows);
  if (world->rank() != 0) return;
  run.Print();
  std::printf("op conformance: %d of %d cases run, each twice on 8 ranks, 0 skipped\n", run.rows(),
              all.rows());
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) { return weft::testing::RunMpiTests(argc, argv, &weft::world); }
