#include "runtime/human_units.h"

#include <gtest/gtest.h>

#include <limits>

namespace weft {
namespace {

TEST(HumanUnits, Bytes) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1024), "1.00 KiB");
  EXPECT_EQ(HumanBytes(44435008), "42.4 MiB");
  EXPECT_EQ(HumanBytes(int64_t{300} << 30), "300 GiB");
  EXPECT_EQ(HumanBytes(std::numeric_limits<int64_t>::max()), "8.00 EiB");
}

TEST(HumanUnits, Counts) {
  EXPECT_EQ(HumanCount(0), "0");
  EXPECT_EQ(HumanCount(999), "999");
  EXPECT_EQ(HumanCount(853120), "853,120");
  EXPECT_EQ(HumanCount(-1234567), "-1,234,567");
  EXPECT_EQ(HumanCount(-123), "-123");
}

TEST(HumanUnits, Times) {
  EXPECT_EQ(HumanSeconds(21.4e-6), "21.4 us");
  EXPECT_EQ(HumanSeconds(1.35e-3), "1.35 ms");
  EXPECT_EQ(HumanSeconds(2.1), "2.1 s");
  EXPECT_EQ(HumanDuration(8), "8s");
  EXPECT_EQ(HumanDuration(125), "2m 05s");
  EXPECT_EQ(HumanDuration(4800), "1h 20m");
}

}  // namespace
}  // namespace weft
