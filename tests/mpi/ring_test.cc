// Ring attention over MPI: rows of its conformance table against one rank in f64.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/mpi_world.h"
#include "tests/system/ring_case.h"

namespace weft {
namespace {

Transport* world = nullptr;  // set by main; MPI starts once per process

TEST(MpiRing, EqualsOneRank) {
  const std::vector<testing::RingCase> cases = {
      {.sequence = 192},
      {.sequence = 192, .causal = false},
      {.sequence = 512, .heads = 16, .kv_heads = 1, .d = 64},
      {.sequence = 301, .heads = 5, .kv_heads = 5},
      {.sequence = 698, .kv_heads = 2, .documents = {1, 7, 690}},
      {.sequence = 512, .zigzag = false, .window = 100},
      {.sequence = 512, .kv_heads = 2, .d = 64, .dtype = DType::kBF16},
      {.sequence = 250, .meeting = SequenceMeeting::kHeads},
  };
  for (testing::RingCase c : cases) {
    c.mesh = absl::StrCat("seq:", world->size());
    SCOPED_TRACE(c.Describe());
    const absl::StatusOr<testing::MeshRun> run = testing::RunRingAsRank(c, *world);
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_EQ(run->bytes_sent, run->bytes_predicted);
    if (world->rank() != 0) continue;
    const absl::StatusOr<testing::RingResults> exact = testing::ExactRing(c);
    ASSERT_TRUE(exact.ok()) << exact.status();
    const double tolerance = c.dtype == DType::kBF16 ? 4e-3 : 1e-5;
    for (const auto& [name, got] : testing::ResultsOf(*run)) {
      EXPECT_LE(testing::RelativeError(got, exact->at(name)), tolerance) << name;
    }
  }
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) { return weft::testing::RunMpiTests(argc, argv, &weft::world); }
