#include "launcher/checkpoint.h"

#include <gtest/gtest.h>
#include <unistd.h>

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

namespace weft {
namespace {

namespace fs = std::filesystem;

// One rank with two variables and a folder of its own.
class CheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::path(testing::TempDir()) / absl::StrCat("weft_checkpoint_", ::getpid());
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
  std::string Save() {
    EXPECT_TRUE(SaveCheckpoint(job_, 7, variables_, network_.endpoint(0)).ok());
    const absl::StatusOr<std::string> folder = NewestCheckpoint(dir_.string());
    EXPECT_TRUE(folder.ok()) << folder.status();
    return folder.ok() ? *folder : "";
  }
  absl::StatusOr<int64_t> Restore(const std::string& folder, VariableStore& into) {
    return RestoreCheckpoint(folder, job_, into, network_.endpoint(0));
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
