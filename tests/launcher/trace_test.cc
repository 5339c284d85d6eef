// The parts of `weft train --trace`: which steps, the file, the summary.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "launcher/step_trace.h"
#include "launcher/trace_file.h"
#include "launcher/trace_summary.h"

namespace weft {
namespace {

namespace fs = std::filesystem;

Job JobOf(int64_t steps, const std::string& traced) {
  Job job;
  job.mutable_train()->set_steps(steps);
  job.mutable_log()->set_trace_steps(traced);
  return job;
}

TEST(TraceSteps, ByDefaultThreePastTheFirstTen) {
  const auto expect = [](int64_t steps, int64_t done, int64_t first, int64_t last) {
    const auto chosen = TraceStepsOf(JobOf(steps, ""), done);
    ASSERT_TRUE(chosen.ok()) << chosen.status();
    EXPECT_EQ(chosen->first, first) << steps << " " << done;
    EXPECT_EQ(chosen->last, last) << steps << " " << done;
  };
  expect(50, 0, 11, 13);
  expect(13, 0, 11, 13);
  expect(12, 0, 10, 12);
  expect(2, 0, 1, 2);
  expect(1, 0, 1, 1);
  expect(50, 20, 31, 33);
  expect(50, 40, 48, 50);
  expect(50, 49, 50, 50);
}

TEST(TraceSteps, AsAskedFor) {
  const auto chosen = TraceStepsOf(JobOf(50, "7:7"), 6);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->first, 7);
  EXPECT_EQ(chosen->last, 7);
  EXPECT_EQ(TraceStepsOf(JobOf(50, "7:7"), 7).status().message(),
            "is \"7:7\" and the run goes on with step 8");
  EXPECT_EQ(TraceStepsOf(JobOf(5000, "1:1001"), 0).status().message(),
            "is \"1:1001\"; trace at most 1000 steps at once");
}

class TraceFileTest : public ::testing::Test {
 protected:
  TraceFileTest()
      : dir_(fs::path(::testing::TempDir()) / absl::StrCat("weft_trace_", ::getpid())) {}
  ~TraceFileTest() override { fs::remove_all(dir_); }
  std::string path() const { return dir_ / "in" / "t.json"; }
  std::string Text() const {
    std::ifstream in(path());
    return {std::istreambuf_iterator<char>(in), {}};
  }
  const fs::path dir_;
};

TEST_F(TraceFileTest, AppearsWhole) {
  {
    TraceFile file(path());
    ASSERT_TRUE(file.Open().ok());
    ASSERT_TRUE(file.Append("first ").ok());
    EXPECT_FALSE(fs::exists(path()));
    ASSERT_TRUE(file.Append("second").ok());
    ASSERT_TRUE(file.Commit().ok());
  }
  EXPECT_EQ(Text(), "first second");
  {
    TraceFile file(path());  // one that is given up changes nothing
    ASSERT_TRUE(file.Open().ok());
    ASSERT_TRUE(file.Append("third").ok());
  }
  EXPECT_EQ(Text(), "first second");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_ / "in"), {}), 1);
}

TEST_F(TraceFileTest, SaysAtTheStartThatItCannotBeWritten) {
  fs::create_directories(path());
  TraceFile file(path());
  const absl::Status status = file.Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            absl::StrCat("cannot write a trace to '", path(), "': Is a directory"));
}

// Two streams: actor 0 computes on one, actor 1 reduces on the other.
Plan TwoStreams() {
  Plan plan;
  plan.set_rank(1);
  plan.add_streams()->set_name("compute");
  plan.add_streams()->set_name("communication");
  plan.add_actors()->mutable_compute();
  plan.add_actors()->mutable_all_reduce();
  plan.mutable_actors(1)->set_stream(1);
  return plan;
}

FiringTime At(int actor, int64_t step, int64_t begin, int64_t end, int64_t host_bound = 0) {
  return {.actor = actor, .step = step, .begin = begin, .end = end, .host_bound = host_bound};
}

TEST(TraceSummary, LooksAtWholeStepsWithTheirGaps) {
  // Steps of 100 ns: computation busy for 60, of which the host may have cost 5; communication for
  // 50, of which 20 under computation.
  std::vector<FiringTime> times;
  for (int64_t step = 0; step < 3; ++step) {
    const int64_t t = 1000 + 100 * step;
    times.push_back(At(0, step, t, t + 40, 5));
    times.push_back(At(0, step, t + 70, t + 90));
    times.push_back(At(1, step, t + 30, t + 80));
  }
  const auto summary = SummariseTrace(TwoStreams(), times);
  EXPECT_EQ(summary["rank"], 1);
  EXPECT_EQ(summary["steps"], 2);  // the third only ends the second
  EXPECT_DOUBLE_EQ(summary["step_ms"], 100e-6);
  EXPECT_DOUBLE_EQ(summary["streams"][0]["busy"], 0.55);
  EXPECT_DOUBLE_EQ(summary["streams"][0]["host_bound"], 0.05);
  EXPECT_DOUBLE_EQ(summary["streams"][1]["busy"], 0.5);
  EXPECT_DOUBLE_EQ(summary["exposed_communication_ms"], 30e-6);
  const std::string text = TraceSummaryText({summary});
  EXPECT_NE(text.find("55.0 %  45.0 %"), std::string::npos) << text;
}

TEST(TraceSummary, OneStepEndsWithItsComputation) {
  const auto summary =
      SummariseTrace(TwoStreams(), {At(0, 4, 100, 150), At(0, 4, 160, 200), At(1, 4, 140, 400)});
  EXPECT_EQ(summary["steps"], 1);
  EXPECT_DOUBLE_EQ(summary["step_ms"], 100e-6);
  EXPECT_DOUBLE_EQ(summary["streams"][0]["busy"], 0.9);
  EXPECT_DOUBLE_EQ(summary["exposed_communication_ms"], 10e-6);
}

TEST(TraceSummary, OfARankThatComputesNothing) {
  const auto summary = SummariseTrace(TwoStreams(), {At(1, 4, 140, 400)});
  EXPECT_EQ(summary["steps"], 0);
  EXPECT_DOUBLE_EQ(summary["step_ms"], 0);
  EXPECT_DOUBLE_EQ(summary["streams"][1]["busy"], 0);
}

}  // namespace
}  // namespace weft
