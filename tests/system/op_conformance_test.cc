// Runs the table of op_rows.h: every row is compiled, planned and executed by real ranks, forward
// and backward, as threads of this process. A tenth of them also runs under mpirun
// (tests/mpi/op_conformance_test.cc).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "tests/system/op_row_check.h"
#include "tests/system/op_row_counts.h"
#include "tests/system/op_row_graph.h"
#include "tests/system/op_rows.h"

namespace weft::testing {
namespace {

int Failures() {
  return ::testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count();
}

// The counts say that no row was forgotten on the way; a row added to the table adds to them.
TEST(OpConformance, EveryRowOfTheTable) {
  OpRowCounts counts;
  int failed = 0;
  for (const OpRow& row : AllOpRows()) {
    SCOPED_TRACE(Describe(row));
    const int before = Failures();
    CheckRow(row);
    failed += Failures() > before ? 1 : 0;
    counts.Add(row);
  }
  counts.Print();
  counts.ExpectBothMeshes();
  std::printf("op conformance: %d cases run, %d failed, 0 skipped\n", counts.rows(), failed);
  EXPECT_EQ(counts.rows(), kOpRows);
}

// What the rows of reduce_max are compared with is itself right where maxima are equal, counted by
// hand: each takes an equal share.
TEST(OpConformance, EqualMaximaShareTheGradient) {
  int rows = 0, ties = 0;
  for (const OpRow& row : ReductionRows()) {
    if (row.op != "reduce_max" || row.grads.empty()) continue;
    SCOPED_TRACE(Describe(row));
    const absl::StatusOr<RowGraph> graph = BuildRow(row, MeshOfRow(row));
    ASSERT_TRUE(graph.ok()) << graph.status();
    const auto outputs = EvaluateRow(*graph);
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    const HostTensor &x = graph->inputs.at("x"), &dy = graph->inputs.at("dy0");
    const HostTensor& dx = outputs->at("d_x");
    const Shape& shape = x.spec.shape;  // dimension 1 is reduced
    for (int64_t i = 0; i < shape[0]; ++i) {
      for (int64_t k = 0; k < shape[2]; ++k) {
        const auto at = [&](int64_t j) { return (i * shape[1] + j) * shape[2] + k; };
        double most = x.values[at(0)];
        for (int64_t j = 0; j < shape[1]; ++j) most = std::max(most, x.values[at(j)]);
        int count = 0;
        for (int64_t j = 0; j < shape[1]; ++j) count += x.values[at(j)] == most ? 1 : 0;
        ties += count > 1 ? 1 : 0;
        const auto share =
            static_cast<float>(dy.values[i * shape[2] + k]) / static_cast<float>(count);
        for (int64_t j = 0; j < shape[1]; ++j) {
          EXPECT_EQ(dx.values[at(j)], x.values[at(j)] == most ? share : 0);
        }
      }
    }
    ++rows;
  }
  EXPECT_GT(rows, 8);
  EXPECT_GT(ties, 8);
}

}  // namespace
}  // namespace weft::testing
