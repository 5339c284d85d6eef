#include "examples/demo/metrics_curve.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>

namespace weft {
namespace {

std::string Written(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "metrics_curve_" + name;
  std::ofstream(path) << text;
  return path;
}

TEST(MetricsCurve, ReadsLossesInBits) {
  const auto curve = ReadMetricsCurve(Written(
      "good", R"({"step":1,"loss":5.545177444479562,"tokens":100,"step_ms":500,"bytes_sent":7})"
              "\n"
              R"({"step":2,"loss":2.772588722239781,"tokens":100,"step_ms":1500,"bytes_sent":7,)"
              R"("eval_loss":3.4657359027997265})"
              "\n"));
  ASSERT_TRUE(curve.ok()) << curve.status();
  ASSERT_EQ(curve->training.size(), 2u);
  EXPECT_DOUBLE_EQ(curve->training[0].bits, 8);
  EXPECT_DOUBLE_EQ(curve->training[1].bits, 4);
  ASSERT_EQ(curve->evaluation.size(), 1u);
  EXPECT_EQ(curve->evaluation[0].step, 2);
  EXPECT_DOUBLE_EQ(curve->evaluation[0].bits, 5);
  EXPECT_DOUBLE_EQ(curve->tokens_per_s(), 100);
  EXPECT_EQ(curve->bytes_sent, 14);
  EXPECT_EQ(curve->last_step, 2);
}

TEST(MetricsCurve, LeavesOutABrokenLastLineAndUnknownLosses) {
  const auto curve = ReadMetricsCurve(
      Written("cut", "{\"step\":1,\"loss\":1}\n{\"step\":2,\"loss\":null}\n{\"step\":3,\"lo"));
  ASSERT_TRUE(curve.ok()) << curve.status();
  EXPECT_EQ(curve->training.size(), 1u);
  EXPECT_EQ(curve->last_step, 2);
}

TEST(MetricsCurve, NamesTheLineThatIsWrong) {
  const auto curve =
      ReadMetricsCurve(Written("bad", "{\"step\":1,\"loss\":1}\n[]\n{\"step\":3,\"loss\":1}\n"));
  EXPECT_EQ(curve.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(curve.status().message()).find(":2:"), std::string::npos);
}

TEST(MetricsCurve, RefusesAbsentAndEmptyFiles) {
  EXPECT_EQ(ReadMetricsCurve("/nowhere/metrics").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadMetricsCurve(Written("empty", "")).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace weft
