#include "graph/sbp.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(Sbp, ParsesWhatItPrints) {
  for (const char* text :
       {"S(0)", "S(3)", "S(1; zigzag)", "S(1; turn 2)", "S(1; zigzag; turn -1)", "S(0; turn 1; reach 63)", "B",
        "P(sum)", "P(max)", "P(logaddexp)"}) {
    auto sbp = Sbp::Parse(text);
    ASSERT_TRUE(sbp.ok()) << sbp.status();
    EXPECT_EQ(sbp->ToString(), text);
  }
}

TEST(Sbp, SpaceDoesNotMatter) {
  EXPECT_EQ(*Sbp::Parse(" S( 1;zigzag ) "), Sbp::S(1, IndexOrder::kZigzag));
}

TEST(Sbp, RefusesWhatItDoesNotPrint) {
  for (const char* text : {"", "S", "S()", "S(-1)", "S(1; spiral)", "S(1;zigzag;zigzag)", "S(1; turn 0)",
                           "S(1; turn x)", "S(1; turn 1; turn 2)", "S(1; reach 3)",
                           "S(1; turn 1; reach -1)", "S(1; zigzag; turn 1; reach 3)", "P",
                           "P()", "P(mean)", "b", "B(1)", "S(1000)", "S(x)", "S(0", "(0)"}) {
    EXPECT_FALSE(Sbp::Parse(text).ok()) << text;
  }
}

TEST(Sbp, KindsDiffer) {
  EXPECT_NE(Sbp::S(0), Sbp::S(1));
  EXPECT_NE(Sbp::S(0), Sbp::S(0, IndexOrder::kZigzag));
  EXPECT_NE(Sbp::P(Monoid::kSum), Sbp::P(Monoid::kMax));
  EXPECT_EQ(Sbp(), Sbp::B());
  EXPECT_TRUE(Sbp::S(2).is_split(2));
  EXPECT_FALSE(Sbp::S(2).is_split(0));
}

}  // namespace
}  // namespace weft
