// The plans of the tiny job, cut to one layer, as text: a change of what weft decides shows in a
// review. WEFT_UPDATE_GOLDEN=1 in the environment writes the files anew.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/plan_output.h"
#include "launcher/plan_text.h"

namespace weft {
namespace {

class GoldenPlan : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenPlan, IsAsItWas) {
  const absl::StatusOr<Job> job = LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt",
                                          {.sets = {"model.decoder.layers=1"}, .mesh = GetParam()});
  ASSERT_TRUE(job.ok()) << job.status();
  OpRegistry ops;
  DefineAllOps(ops);
  const absl::StatusOr<PlanReport> report = ReportPlan(*job, ops, {.times = false});
  ASSERT_TRUE(report.ok()) << report.status();
  const std::string text = PlanText(*report, 1000);
  const std::string path =
      absl::StrCat(WEFT_SOURCE_DIR "/tests/system/golden/tiny_",
                   absl::StrReplaceAll(GetParam(), {{":", ""}, {",", "_"}}), ".txt");
  const char* update = std::getenv("WEFT_UPDATE_GOLDEN");
  if (update != nullptr && std::string(update) == "1") {
    std::ofstream(path) << text;
    return;
  }
  std::ifstream file(path);
  std::stringstream golden;
  golden << file.rdbuf();
  const std::vector<std::string> want = absl::StrSplit(golden.str(), '\n');
  const std::vector<std::string> got = absl::StrSplit(text, '\n');
  for (size_t i = 0; i < std::max(want.size(), got.size()); ++i) {
    const std::string expected = i < want.size() ? want[i] : "(no line)";
    const std::string printed = i < got.size() ? got[i] : "(no line)";
    ASSERT_EQ(printed, expected) << path << ":" << i + 1
                                 << ": if the change is wanted, run again with "
                                    "WEFT_UPDATE_GOLDEN=1 and review the difference";
  }
}

INSTANTIATE_TEST_SUITE_P(Tiny, GoldenPlan, ::testing::Values("data:1", "data:2", "model:2", "seq:2"),
                         [](const auto& info) {
                           return absl::StrReplaceAll(info.param, {{":", ""}});
                         });

}  // namespace
}  // namespace weft
