// What ranks of a trace do together: compare clocks, and collect what each has noted.
#include "runtime/compare_clocks.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/rendezvous.h"
#include "runtime/time_marks.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

// Ranks whose clock is a second ahead of, or behind, that of rank 0.
int64_t EarlyClock() { return HostNanoseconds() + 1000000000; }
int64_t LateClock() { return HostNanoseconds() - 1000000000; }

TEST(CompareClocks, FindsTheDifferenceToWithinItsError) {
  for (const int size : {1, 2, 3}) {
    testing::RunRanks(size, {}, [](Transport& t) {
      const auto clock = t.rank() == 0   ? &HostNanoseconds
                         : t.rank() == 1 ? &EarlyClock
                                         : &LateClock;
      const absl::StatusOr<ClockDifference> found = CompareClocks(t, clock);
      ASSERT_TRUE(found.ok()) << found.status();
      const int64_t want = t.rank() == 0 ? 0 : t.rank() == 1 ? -1000000000 : 1000000000;
      EXPECT_GE(found->ahead, want - found->error);
      EXPECT_LE(found->ahead, want + found->error);
    });
  }
}

TEST(CompareClocks, RanksOfOneMachineHaveOneClock) {
  testing::RunRanks(3, {}, [](Transport& t) {
    const absl::StatusOr<ClockDifference> found = CompareClocks(t);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->ahead, 0);
  });
}

TEST(CompareClocks, EndsWithThePoison) {
  testing::RunRanks(3, {}, [](Transport& t) {
    if (t.rank() == 1) return t.Poison(absl::InternalError("out of luck"));
    EXPECT_FALSE(CompareClocks(t).ok());
  });
}

TEST(GatherBytes, OnTheRootInOrderOfRanks) {
  for (const int size : {1, 2, 5}) {
    testing::RunRanks(size, {}, [size](Transport& t) {
      for (const int root : {0, size - 1}) {
        const auto gathered = GatherBytes(t, root, std::string(t.rank() * 1000, 'x'));
        ASSERT_TRUE(gathered.ok()) << gathered.status();
        ASSERT_EQ(gathered->size(), static_cast<size_t>(t.rank() == root ? size : 0));
        for (size_t r = 0; r < gathered->size(); ++r) EXPECT_EQ((*gathered)[r].size(), r * 1000);
      }
      EXPECT_FALSE(GatherBytes(t, size, "").ok());
    });
  }
}

TEST(HostTimeMarks, AreZeroUntilSetAndThenTheHostsTime) {
  HostTimeMarks marks(2);
  EXPECT_EQ(marks.Read(1)->at, 0);
  const int64_t before = HostNanoseconds();
  marks.Set(1, nullptr);
  EXPECT_GE(marks.Read(1)->at, before);
  EXPECT_LE(marks.Read(1)->at, HostNanoseconds());
  EXPECT_EQ(marks.Read(1)->enqueued, 0);
  EXPECT_EQ(marks.Read(0)->at, 0);
}

}  // namespace
}  // namespace weft
