// A run that goes on from a checkpoint is the run that was never interrupted, bit for bit.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/ranks.h"
#include "launcher/train.h"

namespace weft {
namespace {

namespace fs = std::filesystem;

class ResumeTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    dir_ = fs::path(::testing::TempDir()) / absl::StrCat("weft_resume_", ::getpid());
    fs::remove_all(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  // Trains four short steps of a small tiny.pbtxt with a checkpoint after every second one.
  absl::Status Train(const std::string& folder, TrainOptions options,
                     std::vector<std::string> sets = {}) {
    sets.insert(sets.begin(), {"train.steps=4", "data.sequence=16", "model.decoder.layers=2",
                               "checkpoint.every=2", "checkpoint.keep=0",
                               absl::StrCat("checkpoint.dir=", (dir_ / folder).string())});
    const std::string mesh = GetParam();
    const absl::StatusOr<Job> job =
        LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt", {.sets = sets, .mesh = mesh});
    if (!job.ok()) return job.status();
    OpRegistry ops;
    KernelTable kernels;
    DefineAllOps(ops);
    FillCpuKernels(ops, kernels);
    absl::StatusOr<Ranks> ranks = Ranks::Start(mesh.back() - '0');
    if (!ranks.ok()) return ranks.status();
    options.progress = false;
    return ranks->Run(
        [&](Transport& transport) { return TrainRank(*job, ops, kernels, transport, options); });
  }
  // All bytes of all ranks' variables after `step`.
  std::string Bytes(const std::string& folder, const char* step) const {
    std::string bytes;
    for (char rank = '0'; rank < std::string(GetParam()).back(); ++rank) {
      std::ifstream in(
          dir_ / folder / step / absl::StrCat("rank-0000", std::string(1, rank), ".safetensors"),
          std::ios::binary);
      bytes.append(std::istreambuf_iterator<char>(in), {});
    }
    return bytes;
  }

  fs::path dir_;
};

TEST_P(ResumeTest, GoesOnBitForBit) {
  ASSERT_TRUE(Train("whole", {}).ok());
  fs::create_directories(dir_ / "parts");
  fs::copy(dir_ / "whole" / "step-00000002", dir_ / "parts" / "step-00000002",
           fs::copy_options::recursive);
  const absl::Status status = Train("parts", {.resume = true});
  ASSERT_TRUE(status.ok()) << status;
  const std::string whole = Bytes("whole", "step-00000004");
  ASSERT_GT(whole.size(), 100000u);
  EXPECT_TRUE(whole == Bytes("parts", "step-00000004"));
  EXPECT_FALSE(whole == Bytes("whole", "step-00000002"));
}

TEST_P(ResumeTest, AnotherModelOrOptimizerIsRefused) {
  ASSERT_TRUE(Train("run", {}).ok());
  absl::Status status = Train("run", {.resume = true}, {"train.steps=6", "model.decoder.layers=1"});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("is not in the job"), absl::string_view::npos) << status;
  status = Train("run", {.resume = true}, {"train.steps=6", "optimizer.lamb={lr: 1e-2}"});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(ResumeTest, AnInterruptWhileLoadingEndsBeforeTheFirstStep) {
  const std::atomic<bool> interrupted{true};
  TrainOptions options;
  options.interrupted = &interrupted;
  const absl::Status status = Train("run", options);
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  EXPECT_FALSE(fs::exists(dir_ / "run" / "step-00000001"));
}

// A run that stops after every step to save runs the same steps as one that runs ahead.
TEST_P(ResumeTest, RunningAheadChangesNoBit) {
  ASSERT_TRUE(Train("stopping", {}, {"train.steps=6", "checkpoint.every=1"}).ok());
  ASSERT_TRUE(Train("ahead", {}, {"train.steps=6", "checkpoint.every=0"}).ok());
  const std::string stopping = Bytes("stopping", "step-00000006");
  ASSERT_GT(stopping.size(), 100000u);
  EXPECT_TRUE(stopping == Bytes("ahead", "step-00000006"));
  EXPECT_FALSE(fs::exists(dir_ / "ahead" / "step-00000005"));
}

TEST_P(ResumeTest, AnInterruptSavesTheStepsInFlight) {
  std::atomic<bool> interrupted{false}, done{false};
  fs::create_directories(dir_);
  const std::string metrics = (dir_ / "metrics.jsonl").string();
  const auto lines = [&metrics] {
    std::ifstream in(metrics);
    return std::count(std::istreambuf_iterator<char>(in), {}, '\n');
  };
  std::thread signal([&] {
    while (!done && lines() == 0) std::this_thread::yield();
    interrupted = true;
  });
  TrainOptions options;
  options.interrupted = &interrupted;
  const absl::Status status =
      Train("run", options,
            {"train.steps=100000", "checkpoint.every=0", absl::StrCat("log.metrics=", metrics)});
  done = true;
  signal.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  const std::string steps = absl::StrCat(lines());
  EXPECT_NE(status.message().find(absl::StrCat("interrupted after step ", steps, ";")),
            absl::string_view::npos)
      << status << ", " << steps << " lines";
  const std::string folder = absl::StrCat("step-", std::string(8 - steps.size(), '0'), steps);
  EXPECT_TRUE(fs::exists(dir_ / "run" / folder / "COMPLETE"));
}

INSTANTIATE_TEST_SUITE_P(Ranks, ResumeTest, ::testing::Values("data:1", "model:2"),
                         [](const auto& info) {
                           return absl::StrCat("Ranks", std::string(info.param).back() - '0');
                         });

}  // namespace
}  // namespace weft
