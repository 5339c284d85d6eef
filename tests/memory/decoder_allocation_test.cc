// In steady state a training step of the decoder allocates nothing in weft's own code, kernels
// included, on any mesh. What oneDNN does within its products is not weft's.
#include <gtest/gtest.h>

#include <barrier>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/memory/decoder_rank.h"
#include "tests/memory/heap_count.h"
#include "tests/support/run_ranks.h"

namespace weft::testing {
namespace {

class DecoderAllocationTest : public ::testing::TestWithParam<const char*> {};

TEST_P(DecoderAllocationTest, NoneInSteadyState) {
  const auto program = DecoderProgram::Make(GetParam(), {"train.microbatches=2"});
  ASSERT_TRUE(program.ok()) << program.status();
  const int ranks = (*program)->program().graph.meshes[0].size();
  std::barrier all(ranks);
  RunRanks(ranks, {}, [&](Transport& transport) {
    DecoderRank rank(**program, transport);
    const absl::Status loaded = rank.Load();
    ASSERT_TRUE(loaded.ok()) << loaded;
    ASSERT_TRUE(rank.Run(0, 3).ok());
    all.arrive_and_wait();
    if (transport.rank() == 0) CountAllocations(true);
    all.arrive_and_wait();
    const absl::Status ran = rank.Run(3, 4);
    all.arrive_and_wait();
    if (transport.rank() == 0) CountAllocations(false);
    all.arrive_and_wait();
    EXPECT_TRUE(ran.ok()) << ran;
    EXPECT_GT(rank.losses().at(6), 0);
  });
  EXPECT_GT(ProductsSeen(), 0) << "no product went through oneDNN";
  EXPECT_EQ(AllocationsCounted(), 0);
  // The counter counts.
  CountAllocations(true);
  int* volatile counted = new int(1);  // volatile: no compiler may leave it out
  delete counted;
  CountAllocations(false);
  EXPECT_GT(AllocationsCounted(), 0);
}

INSTANTIATE_TEST_SUITE_P(Meshes, DecoderAllocationTest,
                         ::testing::Values("data:1", "data:2", "model:2", "data:2,model:2"));

}  // namespace
}  // namespace weft::testing
