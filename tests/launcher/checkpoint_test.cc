#include "launcher/checkpoint.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "launcher/job.h"
#include "runtime/memory_transport.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

namespace fs = std::filesystem;

// One rank with two variables and a folder of its own.
class CheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::path(::testing::TempDir()) / absl::StrCat("weft_checkpoint_", ::getpid());
    fs::remove_all(dir_);
    absl::StatusOr<Job> job =
        LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt",
                {.sets = {absl::StrCat("checkpoint.dir=", dir_.string())}, .mesh = {}});
    ASSERT_TRUE(job.ok()) << job.status();
    job_ = *std::move(job);
    Fill(variables_, 1.0f);
  }
  void TearDown() override { fs::remove_all(dir_); }

  static void Fill(VariableStore& variables, float value) {
    for (const char* name : {"bias", "weight"}) {
      bool added = false;
      const Shape shape = {4, 3};
      auto entry = variables.Add(name, {shape, DType::kF32}, Box::Whole(shape), &added);
      ASSERT_TRUE(entry.ok()) << entry.status();
      for (int i = 0; i < 12; ++i) (*entry)->operand().as<float>()[i] = value + i;
    }
  }
  std::string Save(int64_t step = 7, bool finite = true) {
    EXPECT_TRUE(SaveCheckpoint(job_, step, finite, variables_, network_.endpoint(0)).ok());
    const absl::StatusOr<std::string> folder = NewestCheckpoint(dir_.string());
    EXPECT_TRUE(folder.ok()) << folder.status();
    return folder.ok() ? *folder : "";
  }
  absl::StatusOr<int64_t> Restore(const std::string& folder, VariableStore& into) {
    return RestoreCheckpoint(folder, job_, RestoreScope::kAll, into, network_.endpoint(0));
  }
  // Names in the folder, sorted.
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  fs::path dir_;
  Job job_;
  MemoryNetwork network_{1};
  VariableStore variables_;
};

TEST_F(CheckpointTest, ReadsBackWhatWasSaved) {
  const std::string folder = Save();
  VariableStore read;
  Fill(read, 0.0f);
  const absl::StatusOr<int64_t> step = Restore(folder, read);
  ASSERT_TRUE(step.ok()) << step.status();
  EXPECT_EQ(*step, 7);
  for (const char* name : {"bias", "weight"}) {
    EXPECT_EQ(std::memcmp(read.Find(name)->memory.data(), variables_.Find(name)->memory.data(),
                          12 * sizeof(float)),
              0);
  }
}

TEST_F(CheckpointTest, AFolderThatCannotBeIsFoundBeforeTraining) {
  EXPECT_TRUE(CheckCheckpointFolder((dir_ / "new").string()).ok());
  std::ofstream(dir_ / "file") << "x";
  const absl::Status status = CheckCheckpointFolder((dir_ / "file" / "below").string());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("name another folder"), absl::string_view::npos) << status;
}

TEST_F(CheckpointTest, AnotherMeshOrVariableIsRefused) {
  const std::string folder = Save();
  job_.set_mesh("data:2");
  EXPECT_FALSE(Restore(folder, variables_).ok());
  job_.set_mesh("data:1");
  bool added = false;
  ASSERT_TRUE(variables_.Add("more", {{2}, DType::kF32}, Box::Whole({2}), &added).ok());
  const absl::Status status = Restore(folder, variables_).status();
  EXPECT_NE(status.message().find("'more' is missing"), absl::string_view::npos) << status;
}

TEST_F(CheckpointTest, AnAdditionalVariableIsRefusedUnlessOnlyTheModelIsUsed) {
  const std::string folder = Save();
  VariableStore fewer;
  bool added = false;
  const Shape shape = {4, 3};
  ASSERT_TRUE(fewer.Add("bias", {shape, DType::kF32}, Box::Whole(shape), &added).ok());
  const absl::Status status = Restore(folder, fewer).status();
  EXPECT_NE(status.message().find("'weight' is not in the job"), absl::string_view::npos) << status;
  EXPECT_TRUE(
      RestoreCheckpoint(folder, job_, RestoreScope::kModel, fewer, network_.endpoint(0)).ok());
}

TEST_F(CheckpointTest, AnotherPartOfTheSameShapeIsRefused) {
  const Shape shape = {4, 3};
  Box upper = Box::Whole(shape), lower = Box::Whole(shape);
  upper.dims[0] = IndexSet(Interval{0, 2});
  lower.dims[0] = IndexSet(Interval{2, 4});
  VariableStore saved, wanted, taller;
  bool added = false;
  ASSERT_TRUE(saved.Add("w", {shape, DType::kF32}, upper, &added).ok());
  ASSERT_TRUE(wanted.Add("w", {shape, DType::kF32}, lower, &added).ok());
  ASSERT_TRUE(taller.Add("w", {{8, 3}, DType::kF32}, upper, &added).ok());
  ASSERT_TRUE(SaveCheckpoint(job_, 1, true, saved, network_.endpoint(0)).ok());
  const std::string folder = (dir_ / "step-00000001").string();
  EXPECT_TRUE(Restore(folder, saved).ok());
  EXPECT_FALSE(Restore(folder, wanted).ok());
  EXPECT_FALSE(Restore(folder, taller).ok());
}

TEST_F(CheckpointTest, AnotherOptimizerIsRefused) {
  const std::string folder = Save();
  job_.mutable_optimizer()->mutable_lamb()->set_lr(1e-3);
  const absl::Status status = Restore(folder, variables_).status();
  EXPECT_NE(status.message().find("same optimizer"), absl::string_view::npos) << status;
}

TEST_F(CheckpointTest, KeepsThoseWrittenLast) {
  for (int64_t step : {10, 20, 30}) Save(step);
  EXPECT_EQ(Names(), (std::vector<std::string>{"step-00000020", "step-00000030"}));
  // A shorter run begins anew: its checkpoint is the newest, though its step is the smallest.
  EXPECT_EQ(fs::path(Save(5)).filename(), "step-00000005");
  EXPECT_EQ(Names(), (std::vector<std::string>{"step-00000005", "step-00000030"}));
  // Names of other lengths sort by time as well.
  EXPECT_EQ(fs::path(Save(100000000)).filename(), "step-100000000");
  EXPECT_EQ(fs::path(Save(99999999)).filename(), "step-99999999");
}

TEST_F(CheckpointTest, TheSameStepReplacesItsCheckpoint) {
  Save(7);
  Save(8);
  variables_.Find("bias")->operand().as<float>()[0] = 42;
  const std::string folder = Save(7);
  EXPECT_EQ(fs::path(folder).filename(), "step-00000007");
  EXPECT_EQ(Names(), (std::vector<std::string>{"step-00000007", "step-00000008"}));
  VariableStore read;
  Fill(read, 0.0f);
  ASSERT_TRUE(Restore(folder, read).ok());
  EXPECT_EQ(read.Find("bias")->operand().as<float>()[0], 42);
}

TEST_F(CheckpointTest, TheLastFiniteOneIsKept) {
  Save(1);
  Save(2);
  for (int64_t step : {3, 4, 5, 6}) Save(step, /*finite=*/false);
  EXPECT_EQ(Names(), (std::vector<std::string>{"step-00000002", "step-00000005", "step-00000006"}));
}

TEST_F(CheckpointTest, AnUnfinishedFolderIsNoCheckpoint) {
  Save(1);
  const std::string second = Save(2);
  EXPECT_EQ(*FindCheckpoint(second), second);
  fs::remove(fs::path(second) / "COMPLETE");
  EXPECT_EQ(fs::path(*NewestCheckpoint(dir_.string())).filename(), "step-00000001");
  EXPECT_EQ(fs::path(*FindCheckpoint(dir_.string())).filename(), "step-00000001");
  EXPECT_EQ(FindCheckpoint(second).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FindCheckpoint((dir_ / "none").string()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(CheckpointTest, RanksReadTheirOwnFilesOfOneStep) {
  const auto value = [](int rank, int64_t step) { return 100.0f * rank + step; };
  const auto save = [&](int64_t step) {
    testing::RunRanks(3, {}, [&](Transport& transport) {
      VariableStore mine;
      Fill(mine, value(transport.rank(), step));
      EXPECT_TRUE(SaveCheckpoint(job_, step, true, mine, transport).ok());
    });
  };
  save(1);
  save(2);
  const fs::path folder = dir_ / "step-00000002";
  const auto restore = [&](int rank) -> absl::StatusOr<int64_t> {
    absl::StatusOr<int64_t> step;
    testing::RunRanks(3, {}, [&](Transport& transport) {
      if (transport.rank() != rank) return;
      VariableStore mine;
      Fill(mine, 0);
      step = RestoreCheckpoint(folder.string(), job_, RestoreScope::kAll, mine, transport);
      if (step.ok()) {
        EXPECT_EQ(mine.Find("bias")->operand().as<float>()[0], value(rank, *step));
      }
    });
    return step;
  };
  for (int rank : {0, 1, 2}) {
    const absl::StatusOr<int64_t> step = restore(rank);
    ASSERT_TRUE(step.ok()) << step.status();
    EXPECT_EQ(*step, 2);
  }
  fs::copy(dir_ / "step-00000001" / "rank-00001.safetensors", folder / "rank-00001.safetensors",
           fs::copy_options::overwrite_existing);
  EXPECT_TRUE(restore(0).ok());
  EXPECT_FALSE(restore(1).ok());
}

// Whatever bytes a checkpoint's files hold, an error or the variables come out.
TEST_F(CheckpointTest, MutatedFilesNeverCrash) {
  const std::string folder = Save();
  std::mt19937 random(5);
  int refused = 0;
  for (const char* name : {"rank-00000.safetensors", "job.pbtxt"}) {
    const std::string path = absl::StrCat(folder, "/", name);
    std::ifstream in(path, std::ios::binary);
    std::stringstream contents;
    contents << in.rdbuf();
    const std::string good = contents.str();
    ASSERT_FALSE(good.empty()) << path;
    for (int round = 0; round < 200; ++round) {
      std::string bytes = good;
      const size_t at = random() % bytes.size();
      switch (round % 3) {
        case 0: bytes[at] ^= static_cast<char>(1 << (random() % 8)); break;
        case 1: bytes.resize(at); break;
        default: bytes.insert(at, good.substr(random() % good.size(), 1 + random() % 40));
      }
      std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
      const absl::StatusOr<int64_t> step = Restore(folder, variables_);
      if (!step.ok()) {
        ++refused;
        EXPECT_FALSE(step.status().message().empty());
      }
    }
    std::ofstream(path, std::ios::binary | std::ios::trunc) << good;
  }
  EXPECT_GT(refused, 100);
  EXPECT_TRUE(Restore(folder, variables_).ok());
}

}  // namespace
}  // namespace weft
