// How CUDA kernels cut logits that they make once.
#include "kernels/head_pieces.h"

#include <vector>

#include "gtest/gtest.h"

namespace weft {
namespace {

HeadGroups Groups(int64_t rows, int64_t vocab, int64_t stored) {
  const std::vector<int64_t> x = {1, rows, 64}, w = {vocab, 64};
  return HeadGroups(x, w, stored);
}

TEST(HeadGroups, GradientsOfOneGroupWherePossible) {
  const HeadGroups decoder = Groups(16384, 32000, 2);
  EXPECT_EQ(decoder.group_rows, 16384);
  EXPECT_EQ(decoder.piece_rows, 2048);
  const HeadGroups wide = Groups(16384, 32000, 4);
  EXPECT_EQ(wide.group_rows, 8192);
  EXPECT_EQ(wide.piece_rows, 2048);
}

TEST(HeadGroups, LargeVocabulariesStillHaveManyRows) {
  const HeadGroups large = Groups(16384, 500000, 2);
  EXPECT_EQ(large.group_rows, 2048);
  EXPECT_EQ(large.piece_rows, 2048);
}

TEST(HeadGroups, UnevenRowsAreCutInAlignedParts) {
  const HeadGroups uneven = Groups(5001, 65536, 2);
  EXPECT_EQ(uneven.group_rows, 5001);
  EXPECT_EQ(uneven.piece_rows, 1680);  // three, a multiple of 16
  const HeadGroups few = Groups(7, 11, 2);
  EXPECT_EQ(few.group_rows, 7);
  EXPECT_EQ(few.piece_rows, 7);
}

TEST(HeadGroups, Nothing) {
  EXPECT_TRUE(Groups(0, 11, 2).empty());
  EXPECT_TRUE(Groups(5, 0, 2).empty());
  EXPECT_EQ(Groups(5, 0, 2).group_rows, 5);
}

}  // namespace
}  // namespace weft
