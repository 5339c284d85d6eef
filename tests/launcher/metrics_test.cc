#include "launcher/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"

namespace weft {
namespace {

std::vector<std::string> Lines(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(Metrics, PrintsTheContractsKeysInOrder) {
  const StepMetrics m{.step = 3,
                      .loss = 5.5,
                      .grad_norm = 1.25,
                      .lr = 0.001,
                      .tokens = 2048,
                      .tokens_per_s = 1e6,
                      .step_ms = 2.5,
                      .mfu = 0.5,
                      .bytes_sent = 1 << 20,
                      .mem_peak_bytes = 7,
                      .more = {{"held_out_loss", 2.5}}};
  EXPECT_EQ(PrintMetrics(m),
            "{\"step\":3,\"loss\":5.5,\"grad_norm\":1.25,\"lr\":0.001,\"tokens\":2048,"
            "\"tokens_per_s\":1e+06,\"step_ms\":2.5,\"mfu\":0.5,\"bytes_sent\":1048576,"
            "\"mem_peak_bytes\":7,\"held_out_loss\":2.5}");
}

TEST(Metrics, SaysTheLossScaleWhereThereIsOne) {
  StepMetrics m{.loss_scale = 65536, .skipped = true, .more = {{"accuracy", 0.5}}};
  const std::string end = ",\"loss_scale\":65536,\"skipped\":true,\"accuracy\":0.5}";
  EXPECT_TRUE(absl::EndsWith(PrintMetrics(m), end)) << PrintMetrics(m);
  EXPECT_FALSE(absl::StrContains(PrintMetrics(StepMetrics()), "skipped"));
}

TEST(Metrics, DoublesReadBackExactly) {
  for (const double loss : {0.1, 1.0 / 3, 5.545177444479562, 1e-300, 123456789.123456789}) {
    StepMetrics m;
    m.loss = loss;
    m.lr = -loss;
    const nlohmann::json json = nlohmann::json::parse(PrintMetrics(m));
    EXPECT_EQ(json["loss"].get<double>(), loss);
    EXPECT_EQ(json["lr"].get<double>(), -loss);
  }
}

TEST(Metrics, AKeyThatIsNoTextIsStillJson) {
  StepMetrics m;
  m.more = {{"a\xff", 1}};
  EXPECT_EQ(nlohmann::json::parse(PrintMetrics(m))["a\ufffd"].get<double>(), 1);
}

TEST(Metrics, UnknownIsNull) {
  StepMetrics m;
  m.mfu = std::nan("");
  m.loss = std::numeric_limits<double>::infinity();
  const nlohmann::json json = nlohmann::json::parse(PrintMetrics(m));
  EXPECT_TRUE(json["mfu"].is_null());
  EXPECT_TRUE(json["loss"].is_null());
}

TEST(Metrics, AppendsALinePerStepAtOnce) {
  const std::string path = testing::TempDir() + "metrics/new/steps.jsonl";
  std::remove(path.c_str());
  for (int run = 0; run < 2; ++run) {
    absl::StatusOr<MetricsFile> file = MetricsFile::Open(path);
    ASSERT_TRUE(file.ok()) << file.status();
    for (int64_t step = 1; step <= 2; ++step) {
      StepMetrics m;
      m.step = step;
      ASSERT_TRUE(file->Append(m).ok());
      const std::vector<std::string> lines = Lines(path);
      ASSERT_EQ(lines.size(), static_cast<size_t>(2 * run + step));
      EXPECT_EQ(nlohmann::json::parse(lines.back())["step"], step);
    }
  }
}

TEST(Metrics, AFileThatCannotBeWrittenIsAnError) {
  EXPECT_FALSE(MetricsFile::Open("/proc/none/x").ok());
  absl::StatusOr<MetricsFile> full = MetricsFile::Open("/dev/full");
  ASSERT_TRUE(full.ok());
  EXPECT_FALSE(full->Append({}).ok());
}

}  // namespace
}  // namespace weft
