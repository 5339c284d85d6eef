// The promise that a job's loss does not depend on the mesh: examples/jobs/tiny.pbtxt on every mesh
// of the table gives the curve of one rank, and the transport sends what the plan predicts.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "launcher/ranks.h"
#include "launcher/train.h"
#include "nlohmann/json.hpp"
#include "parallel/compile.h"

namespace weft {
namespace {

struct Curve {
  std::vector<double> loss;
  std::vector<int64_t> bytes_sent;
};

// Trains the tiny job, shortened, and reads its metrics.
Curve Train(const std::string& mesh, int ranks, std::vector<std::string> sets) {
  const std::string metrics =
      (std::filesystem::temp_directory_path() / absl::StrCat("weft_curve_", ::getpid(), ".jsonl"))
          .string();
  std::filesystem::remove(metrics);
  const std::vector<std::string> defaults = {"train.steps=4", "checkpoint.dir=", "data.sequence=32",
                                             absl::StrCat("log.metrics=", metrics)};
  sets.insert(sets.begin(), defaults.begin(), defaults.end());
  const absl::StatusOr<Job> job =
      LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt", {.sets = sets, .mesh = mesh});
  EXPECT_TRUE(job.ok()) << job.status();
  if (!job.ok()) return {};
  OpRegistry ops;
  KernelTable kernels;
  DefineAllOps(ops);
  FillCpuKernels(ops, kernels);
  absl::StatusOr<Ranks> group = Ranks::Start(ranks);
  EXPECT_TRUE(group.ok()) << group.status();
  TrainOptions options;
  options.progress = false;
  const absl::Status status = group->Run(
      [&](Transport& transport) { return TrainRank(*job, ops, kernels, transport, options); });
  EXPECT_TRUE(status.ok()) << mesh << ": " << status;
  Curve curve;
  std::ifstream in(metrics);
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json row = nlohmann::json::parse(line);
    curve.loss.push_back(row["loss"].get<double>());
    curve.bytes_sent.push_back(row["bytes_sent"].get<int64_t>());
  }
  std::filesystem::remove(metrics);
  return curve;
}

void ExpectSame(const Curve& want, const Curve& got, const std::string& what) {
  ASSERT_EQ(want.loss.size(), 4u);
  ASSERT_EQ(got.loss.size(), 4u) << what;
  for (size_t i = 0; i < want.loss.size(); ++i) {
    EXPECT_NEAR(got.loss[i], want.loss[i], 1e-4 * std::abs(want.loss[i])) << what << " step " << i;
  }
}

struct MeshCase {
  const char* mesh;
  int ranks;
};

constexpr MeshCase kMeshes[] = {{"data:2", 2},         {"data:3", 3},  {"data:4", 4},
                                {"model:2", 2},        {"model:3", 3}, {"model:4", 4},
                                {"data:2,model:2", 4}, {"stage:2", 2}, {"data:2,stage:2", 4}};

void ExpectSameOnAllMeshes(const std::vector<std::string>& sets) {
  const Curve one = Train("data:1", 1, sets);
  for (const MeshCase& c : kMeshes) {
    ExpectSame(one, Train(c.mesh, c.ranks, sets), c.mesh);
  }
}

TEST(SameCurve, AdamwOnEveryMesh) { ExpectSameOnAllMeshes({}); }

TEST(SameCurve, LambOnEveryMesh) {
  ExpectSameOnAllMeshes({"optimizer.lamb={lr: 1e-2 weight_decay: 0.01}"});
}

TEST(SameCurve, BatchThatNoMeshDivides) { ExpectSameOnAllMeshes({"train.global_batch=15"}); }

TEST(SameCurve, Microbatches) {
  const Curve one = Train("data:1", 1, {});
  // 3 and 5 do not divide 16 rows: some microbatches are a row shorter.
  for (const char* microbatches : {"train.microbatches=2", "train.microbatches=4",
                                   "train.microbatches=3", "train.microbatches=5"}) {
    ExpectSame(one, Train("data:1", 1, {microbatches}), microbatches);
    ExpectSame(one, Train("data:2,model:2", 4, {microbatches}), microbatches);
    ExpectSame(one, Train("stage:3", 3, {microbatches}), microbatches);
    ExpectSame(one, Train("stage:2,model:2", 4, {microbatches, "model.decoder.tied_head=false"}),
               microbatches);
  }
}

TEST(SameCurve, TwoRunsOfOneMeshAreBitEqual) {
  const Curve first = Train("data:2,model:2", 4, {"train.deterministic=true"});
  const Curve second = Train("data:2,model:2", 4, {"train.deterministic=true"});
  ASSERT_EQ(first.loss.size(), 4u);
  EXPECT_EQ(first.loss, second.loss);
}

TEST(SameCurve, BytesSentAreThosePredicted) {
  for (const MeshCase& c : kMeshes) {
    const Curve curve = Train(c.mesh, c.ranks, {});
    const absl::StatusOr<Job> job = LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt",
                                            {.sets = {"data.sequence=32"}, .mesh = c.mesh});
    ASSERT_TRUE(job.ok());
    OpRegistry ops;
    DefineAllOps(ops);
    absl::StatusOr<Graph> graph = TrainGraph(*job, ops);
    ASSERT_TRUE(graph.ok()) << graph.status();
    const absl::StatusOr<Program> program = Compile(*std::move(graph), ops, {});
    ASSERT_TRUE(program.ok()) << program.status();
    int64_t predicted = 0;
    for (int rank = 0; rank < c.ranks; ++rank) {
      const absl::StatusOr<Plan> plan = InstantiatePlan(*program, rank);
      ASSERT_TRUE(plan.ok()) << plan.status();
      predicted += plan->bytes_sent_per_step();
    }
    ASSERT_EQ(curve.bytes_sent.size(), 4u);
    for (int64_t sent : curve.bytes_sent) EXPECT_EQ(sent, predicted) << c.mesh;
  }
}

}  // namespace
}  // namespace weft
