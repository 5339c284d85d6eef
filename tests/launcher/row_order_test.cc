#include "launcher/row_order.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace weft {
namespace {

TEST(RowOrder, IsAPermutationOfAnySize) {
  for (int64_t n : {1, 2, 3, 4, 5, 7, 16, 17, 63, 64, 65, 1000, 4097}) {
    for (uint64_t key : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 63}) {
      std::set<int64_t> seen;
      for (int64_t place = 0; place < n; ++place) {
        const int64_t at = Permute(key, n, place);
        ASSERT_GE(at, 0);
        ASSERT_LT(at, n);
        seen.insert(at);
      }
      EXPECT_EQ(static_cast<int64_t>(seen.size()), n) << "key " << key;
    }
  }
}

TEST(RowOrder, LargeSizesStayBelow) {
  for (int64_t n : {(int64_t{1} << 40) + 1, (int64_t{1} << 61) - 1}) {
    for (int64_t place : {int64_t{0}, int64_t{12345}, n - 1}) {
      const int64_t at = Permute(7, n, place);
      EXPECT_GE(at, 0);
      EXPECT_LT(at, n);
    }
  }
}

TEST(RowOrder, EveryEpochTakesEveryRowOnceInAnotherOrder) {
  constexpr int64_t kRows = 200;
  std::vector<std::vector<int64_t>> epochs;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<int64_t>& rows = epochs.emplace_back();
    for (int64_t i = 0; i < kRows; ++i) rows.push_back(SampledRow(5, kRows, epoch * kRows + i));
    EXPECT_EQ(std::set<int64_t>(rows.begin(), rows.end()).size(), static_cast<size_t>(kRows));
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
  EXPECT_NE(SampledRow(5, kRows, 0), SampledRow(6, kRows, 0));
  // Shuffled: a row is seldom where it was (one in expectation), and neighbours seldom stay so.
  int fixed = 0, neighbours = 0;
  for (int64_t i = 0; i + 1 < kRows; ++i) {
    fixed += epochs[0][i] == i;
    neighbours += epochs[0][i] + 1 == epochs[0][i + 1];
  }
  EXPECT_LT(fixed, 10);
  EXPECT_LT(neighbours, 10);
}

}  // namespace
}  // namespace weft
