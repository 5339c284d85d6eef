// Training in F16 under a loss scale: the tiny job with curves like those of F32 on every mesh,
// steps that overflow, and what a checkpoint keeps.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/ranks.h"
#include "launcher/safetensors.h"
#include "launcher/train.h"
#include "nlohmann/json.hpp"

namespace weft {
namespace {

namespace fs = std::filesystem;
using Sets = std::vector<std::string>;
using Lines = std::vector<nlohmann::json>;  // of metrics, one a step

// All tensors of a rank's checkpoint, by name, as bytes.
using Contents = std::map<std::string, std::string>;

class LossScaleTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::path(::testing::TempDir()) / absl::StrCat("weft_loss_scale_", ::getpid());
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  // Trains the tiny job on short rows.
  absl::Status TryTrain(const std::string& mesh, Sets sets, Lines* lines, bool resume = false) {
    const std::string metrics = (dir_ / "metrics.jsonl").string();
    fs::remove(metrics);
    const Sets defaults = {"checkpoint.dir=", "data.sequence=32", "train.dtype=F16",
                           absl::StrCat("log.metrics=", metrics)};
    sets.insert(sets.begin(), defaults.begin(), defaults.end());
    const absl::StatusOr<Job> job =
        LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt", {.sets = sets, .mesh = mesh});
    if (!job.ok()) return job.status();
    OpRegistry ops;
    KernelTable kernels;
    DefineAllOps(ops);
    FillCpuKernels(ops, kernels);
    int ranks = 1;
    for (size_t at = mesh.find(':'); at != std::string::npos; at = mesh.find(':', at + 1)) {
      ranks *= mesh[at + 1] - '0';
    }
    absl::StatusOr<Ranks> group = Ranks::Start(ranks);
    if (!group.ok()) return group.status();
    TrainOptions options;
    options.progress = false;
    options.resume = resume;
    const absl::Status status = group->Run(
        [&](Transport& transport) { return TrainRank(*job, ops, kernels, transport, options); });
    std::ifstream in(metrics);
    for (std::string line; std::getline(in, line);) lines->push_back(nlohmann::json::parse(line));
    return status;
  }
  Lines Train(const std::string& mesh, const Sets& sets, bool resume = false) {
    Lines lines;
    const absl::Status status = TryTrain(mesh, sets, &lines, resume);
    EXPECT_TRUE(status.ok()) << mesh << ": " << status;
    return lines;
  }

  std::string Folder(const std::string& name) const { return (dir_ / name).string(); }

  Contents Checkpoint(const std::string& name, int step, int rank) const {
    const auto file = SafetensorsFile::Open(absl::StrCat(
        Folder(name), absl::StrFormat("/step-%08d/rank-%05d.safetensors", step, rank)));
    EXPECT_TRUE(file.ok()) << file.status();
    Contents contents;
    if (!file.ok()) return contents;
    for (const SafetensorsEntry& entry : file->entries()) {
      contents[entry.name] = std::string(reinterpret_cast<const char*>(file->data(entry)),
                                         static_cast<size_t>(entry.spec.bytes()));
    }
    return contents;
  }

  fs::path dir_;
};

float ScalarOf(const Contents& contents, const std::string& name) {
  float value = NAN;
  const std::string& bytes = contents.at(name);
  EXPECT_EQ(bytes.size(), sizeof(value));
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

Contents WithoutScale(Contents contents) {
  std::erase_if(contents,
                [](const auto& entry) { return absl::StartsWith(entry.first, "loss_scale."); });
  return contents;
}

// f16 rounds by 2^-12; in 30 steps of training that adds up, as does the order of sums that a mesh
// decides: to some 1e-4 here. Norms of single later steps (16, 20, 25) are steep: any rounding
// moves them by percents.
TEST_F(LossScaleTest, CurvesAreThoseOfF32OnEveryMesh) {
  const Lines want = Train("data:1", {"train.dtype=F32", "train.steps=30"});
  ASSERT_EQ(want.size(), 30u);
  EXPECT_FALSE(want[0].contains("loss_scale"));
  for (const char* mesh : {"data:1", "data:2", "model:2", "data:2,model:2", "stage:2"}) {
    const Lines got = Train(mesh, {"train.steps=30"});
    ASSERT_EQ(got.size(), want.size()) << mesh;
    for (size_t i = 0; i < want.size(); ++i) {
      SCOPED_TRACE(absl::StrCat(mesh, " step ", i + 1));
      const double loss = want[i]["loss"].get<double>(), norm = want[i]["grad_norm"].get<double>();
      EXPECT_NEAR(got[i]["loss"].get<double>(), loss, 2e-3 * loss);
      if (i < 10) {
        EXPECT_NEAR(got[i]["grad_norm"].get<double>(), norm, 1e-2 * norm);
      }
      EXPECT_EQ(got[i]["loss_scale"].get<double>(), 65536);
      EXPECT_FALSE(got[i]["skipped"].get<bool>());
    }
  }
}

// Under an absurd scale the first steps overflow. Nothing of the model or its optimizer changes in
// them, on any rank; the scale is halved, and then training goes on.
TEST_F(LossScaleTest, AStepThatOverflowsChangesNothingButTheScale) {
  struct Case {
    const char* mesh;
    int ranks;
    Sets sets;
  };
  const Case cases[] = {
      {"data:1", 1, {}},
      {"data:2", 2, {"optimizer.clip_norm=0"}},
      {"model:2", 2, {"optimizer.lamb={lr: 1e-2}", "train.microbatches=2"}},
      {"stage:2", 2, {"optimizer.sgd={lr: 0.1 momentum: 0.9}", "train.microbatches=2"}}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.mesh);
    fs::remove_all(dir_ / "run");
    Sets sets = {"train.steps=24",
                 "model.decoder.layers=2",
                 "checkpoint.every=1",
                 "checkpoint.keep=0",
                 absl::StrCat("checkpoint.dir=", Folder("run")),
                 "train.loss_scale={initial: 268435456}"};
    sets.insert(sets.end(), c.sets.begin(), c.sets.end());
    const Lines lines = Train(c.mesh, sets);
    ASSERT_EQ(lines.size(), 24u);
    double scale = 268435456;
    int counted = 0, skipped = 0;
    for (int step = 1; step <= 24; ++step) {
      SCOPED_TRACE(absl::StrCat("step ", step));
      const nlohmann::json& line = lines[step - 1];
      const bool skips = line["skipped"].get<bool>();
      EXPECT_EQ(line["loss_scale"].get<double>(), scale);
      EXPECT_EQ(line["grad_norm"].is_null(), skips);
      EXPECT_TRUE(line["loss"].is_number());
      if (skips) scale /= 2;
      skips ? ++skipped : ++counted;
      for (int rank = 0; rank < c.ranks; ++rank) {
        const Contents now = Checkpoint("run", step, rank);
        EXPECT_EQ(ScalarOf(now, "loss_scale.value"), scale);
        EXPECT_EQ(ScalarOf(now, "loss_scale.updates"), static_cast<float>(counted));
        if (step == 1) continue;
        EXPECT_EQ(WithoutScale(now) == WithoutScale(Checkpoint("run", step - 1, rank)), skips);
      }
    }
    EXPECT_TRUE(lines[0]["skipped"].get<bool>());
    EXPECT_GE(skipped, 5);
    EXPECT_GE(counted, 5);
    EXPECT_LT(lines[23]["loss"].get<double>(), lines[0]["loss"].get<double>() - 0.05);
  }
}

TEST_F(LossScaleTest, MomentsOfARunThatHasSkippedAllAreZero) {
  (void)Train("data:1", {"train.steps=1", "model.decoder.layers=1",
                         absl::StrCat("checkpoint.dir=", Folder("run")),
                         "train.loss_scale={initial: 1099511627776}"});
  const Contents first = Checkpoint("run", 1, 0);
  EXPECT_EQ(ScalarOf(first, "loss_scale.updates"), 0);
  EXPECT_EQ(ScalarOf(first, "loss_scale.value"), 0x1p39f);
  int moments = 0;
  for (const auto& [name, bytes] : first) {
    const bool moment = absl::EndsWith(name, ".m") || absl::EndsWith(name, ".v");
    if (!moment || !first.contains(name.substr(0, name.size() - 2))) continue;
    ++moments;
    EXPECT_EQ(bytes.find_first_not_of('\0'), std::string::npos) << name;
  }
  EXPECT_EQ(moments, 2 * 12);  // parameters of one layer, embedding, head and last norm
}

TEST_F(LossScaleTest, TheScaleDoublesAfterSoManyGoodSteps) {
  const Lines lines = Train("data:2", {"train.steps=8", "model.decoder.layers=1",
                                       "train.loss_scale={initial: 256 growth_every: 3}"});
  ASSERT_EQ(lines.size(), 8u);
  const double want[] = {256, 256, 256, 512, 512, 512, 1024, 1024};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(lines[i]["loss_scale"].get<double>(), want[i]) << i;
}

TEST_F(LossScaleTest, AFixedScaleStays) {
  const Lines good = Train("data:1", {"train.steps=4", "model.decoder.layers=1",
                                      "train.loss_scale={initial: 128 fixed: true}"});
  const Lines bad = Train("data:1", {"train.steps=4", "model.decoder.layers=1",
                                     "train.loss_scale={initial: 1073741824 fixed: true}"});
  ASSERT_EQ(good.size(), 4u);
  ASSERT_EQ(bad.size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(good[i]["loss_scale"].get<double>(), 128);
    EXPECT_FALSE(good[i]["skipped"].get<bool>());
    EXPECT_EQ(bad[i]["loss_scale"].get<double>(), 1073741824);
    EXPECT_TRUE(bad[i]["skipped"].get<bool>());
  }
}

// Scale and counts are variables as any other: 6 steps are 3 and 3, bit for bit.
TEST_F(LossScaleTest, ACheckpointKeepsScaleAndCounts) {
  for (const char* mesh : {"data:1", "model:2"}) {
    SCOPED_TRACE(mesh);
    const Sets sets = {"train.steps=6", "model.decoder.layers=1", "checkpoint.every=3",
                       "checkpoint.keep=0",
                       "train.loss_scale={initial: 268435456 growth_every: 2}"};
    Sets whole = sets, parts = sets;
    whole.push_back(absl::StrCat("checkpoint.dir=", Folder("whole")));
    parts.push_back(absl::StrCat("checkpoint.dir=", Folder("parts")));
    const Lines all = Train(mesh, whole);
    fs::create_directories(dir_ / "parts");
    fs::copy(dir_ / "whole" / "step-00000003", dir_ / "parts" / "step-00000003",
             fs::copy_options::recursive);
    const Lines rest = Train(mesh, parts, /*resume=*/true);
    ASSERT_EQ(all.size(), 6u);
    ASSERT_EQ(rest.size(), 3u);
    for (int i = 0; i < 3; ++i) {
      for (const char* key : {"loss", "grad_norm", "loss_scale", "skipped"}) {
        EXPECT_EQ(rest[i][key], all[3 + i][key]) << key << " of step " << 4 + i;
      }
    }
    for (int rank = 0; rank < mesh[std::strlen(mesh) - 1] - '0'; ++rank) {
      const Contents want = Checkpoint("whole", 6, rank);
      EXPECT_EQ(want.count("loss_scale.value"), 1u);
      EXPECT_EQ(want.count("loss_scale.good_steps"), 1u);
      EXPECT_TRUE(want == Checkpoint("parts", 6, rank));
      EXPECT_FALSE(want == Checkpoint("whole", 3, rank));
    }
    fs::remove_all(dir_ / "whole");
    fs::remove_all(dir_ / "parts");
  }
}

// At a learning rate that throws the parameters far out the forward pass overflows, which no scale
// helps.
TEST_F(LossScaleTest, ALossThatIsNotFiniteUnderTheLeastScaleEndsTraining) {
  struct Case {
    const char* scale;
    const char* says;
    size_t steps;  // all are reported but the one that ends it
  };
  for (const Case& c : {Case{"train.loss_scale={initial: 4}", "cannot be halved any more", 3},
                        Case{"train.loss_scale={initial: 4 fixed: true}", "is fixed", 1}}) {
    Lines lines;
    const absl::Status status =
        TryTrain("data:2",
                 {"train.steps=20", "model.decoder.layers=1", "optimizer.adamw.lr=1000",
                  "optimizer.schedule={}", c.scale},
                 &lines);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "the loss of step")) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), c.says)) << status;
    EXPECT_GE(lines.size(), c.steps);
    EXPECT_LT(lines.size(), 20u);
    EXPECT_FALSE(lines[0]["loss"].is_null());
  }
}

}  // namespace
}  // namespace weft
