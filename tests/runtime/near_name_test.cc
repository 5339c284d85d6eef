#include "runtime/near_name.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(NearName, FindsSlipsOfTheHand) {
  const std::vector<std::string> names = {"steps", "seed", "global_batch", "microbatches"};
  EXPECT_EQ(NearName("step", names), "steps");
  EXPECT_EQ(NearName("stesp", names), "steps");
  EXPECT_EQ(NearName("SEED", names), "seed");
  EXPECT_EQ(NearName("globalbatch", names), "global_batch");
  EXPECT_EQ(NearName("micro_batches", names), "microbatches");
  EXPECT_EQ(NearName("xyz", names), "");
  EXPECT_EQ(NearName("", names), "");
  EXPECT_EQ(NearName(std::string(100000, 'a'), names), "");
}

TEST(NearName, SuggestsOrLists) {
  EXPECT_EQ(Suggest("stepz", {"steps", "seed"}), "; did you mean 'steps'?");
  EXPECT_EQ(Suggest("q", {"steps", "seed"}), "; known: steps, seed");
}

}  // namespace
}  // namespace weft
