#include "examples/demo/loss_curve_svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace weft {
namespace {

using testing::HasSubstr;
using testing::Not;

MetricsCurve SomeCurve(int steps) {
  MetricsCurve curve;
  for (int i = 1; i <= steps; ++i) curve.training.push_back({i, 2.0 + 6.0 / i});
  curve.evaluation = {{steps, 2.2}};
  curve.last_step = steps;
  return curve;
}

TEST(LossCurveSvg, ShowsCurvesYardlinesAndTheirNames) {
  const std::string svg =
      DrawLossCurve(SomeCurve(300), {{"3-gram", 2.25}, {"gzip -9", 2.6}}, "a < b & c");
  EXPECT_THAT(svg, HasSubstr("</svg>"));
  EXPECT_THAT(svg, HasSubstr("3-gram 2.250"));
  EXPECT_THAT(svg, HasSubstr("gzip -9 2.600"));
  EXPECT_THAT(svg, HasSubstr("held out 2.200"));
  EXPECT_THAT(svg, HasSubstr("bits per byte"));
  EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; c"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(LossCurveSvg, DrawsARunOfOneStepWithoutEvaluation) {
  MetricsCurve curve = SomeCurve(1);
  curve.evaluation.clear();
  const std::string svg = DrawLossCurve(curve, {}, "one");
  EXPECT_THAT(svg, HasSubstr("</svg>"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("held out")));
}

TEST(LossCurveSvg, ThinsOutLongRuns) {
  EXPECT_LT(DrawLossCurve(SomeCurve(100000), {}, "long").size(), 200000u);
}

}  // namespace
}  // namespace weft
