#include "launcher/link_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace weft {
namespace {

std::vector<TimedMessage> Exact(const LinkCost& link) {
  std::vector<TimedMessage> points;
  for (int64_t bytes = 8; bytes <= 64 << 20; bytes *= 2) {
    points.push_back({bytes, link.Seconds(bytes, 1)});
  }
  return points;
}

TEST(LinkFit, ExactTimesGiveTheirLinkBack) {
  for (const LinkCost& link : {LinkCost{2e-5, 2e9}, LinkCost{1e-7, 1e8}, LinkCost{3e-3, 4e11}}) {
    const auto fitted = FitLink(Exact(link));
    ASSERT_TRUE(fitted.ok()) << fitted.status();
    EXPECT_NEAR(fitted->latency, link.latency, 1e-9 * link.latency);
    EXPECT_NEAR(fitted->bytes_per_second, link.bytes_per_second, 1e-9 * link.bytes_per_second);
  }
}

// Times that are all too long by one factor and too short by it in turn.
TEST(LinkFit, NoiseMovesBothFiguresLittle) {
  const LinkCost link{2e-5, 2e9};
  std::vector<TimedMessage> points = Exact(link);
  for (size_t i = 0; i < points.size(); ++i) points[i].seconds *= i % 2 == 0 ? 1.05 : 0.95;
  const auto fitted = FitLink(points);
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  EXPECT_NEAR(fitted->latency, link.latency, 0.05 * link.latency);
  EXPECT_NEAR(fitted->bytes_per_second, link.bytes_per_second, 0.05 * link.bytes_per_second);
}

TEST(LinkFit, NeitherFigureIsNegative) {
  // Convex times would have a latency below zero.
  const std::vector<TimedMessage> convex = {{1000, 1e-6}, {2000, 4e-6}, {4000, 1.6e-5}};
  const auto none = FitLink(convex);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ(none->latency, 0);
  EXPECT_GT(none->bytes_per_second, 2.5e8);
  EXPECT_LT(none->bytes_per_second, 1e9);
  // Longer messages that take no longer.
  const std::vector<TimedMessage> falling = {{1000, 2e-6}, {2000, 1e-6}};
  const auto free = FitLink(falling);
  ASSERT_TRUE(free.ok()) << free.status();
  EXPECT_TRUE(std::isinf(free->bytes_per_second));
  EXPECT_GT(free->latency, 1e-6);
  EXPECT_LT(free->latency, 2e-6);
}

TEST(LinkFit, OneSizeDoesNotDo) {
  EXPECT_FALSE(FitLink({}).ok());
  const std::vector<TimedMessage> same = {{8, 1e-6}, {8, 2e-6}};
  EXPECT_FALSE(FitLink(same).ok());
  const std::vector<TimedMessage> stopped = {{8, 0}, {16, 1e-6}};
  EXPECT_FALSE(FitLink(stopped).ok());
}

}  // namespace
}  // namespace weft
