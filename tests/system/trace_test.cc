// `weft train --trace` on the tiny job: every firing of every rank is there, tracks are in order,
// and collectives carry the bytes that were sent.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
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

namespace fs = std::filesystem;
using Json = nlohmann::json;

class TraceTest : public ::testing::TestWithParam<const char*> {
 protected:
  TraceTest() : dir_(fs::path(::testing::TempDir()) / absl::StrCat("weft_traced_", ::getpid())) {
    fs::create_directories(dir_);
    DefineAllOps(ops_);
    FillCpuKernels(ops_, kernels_);
  }
  ~TraceTest() override { fs::remove_all(dir_); }

  // Trains eight short steps, in two microbatches each, with these settings beside.
  absl::Status Train(std::vector<std::string> sets, TrainOptions options = {}) {
    const std::vector<std::string> defaults = {
        "train.steps=8",
        "train.microbatches=2",
        "model.decoder.layers=2",
        "data.sequence=16",
        "checkpoint.dir=",
        absl::StrCat("log.trace=", trace()),
        absl::StrCat("log.metrics=", (dir_ / "metrics").string())};
    sets.insert(sets.begin(), defaults.begin(), defaults.end());
    absl::StatusOr<Job> job =
        LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt", {.sets = sets, .mesh = GetParam()});
    if (!job.ok()) return job.status();
    job_ = *std::move(job);
    ranks_ = Mesh::Parse(GetParam())->size();
    absl::StatusOr<Ranks> group = Ranks::Start(ranks_);
    if (!group.ok()) return group.status();
    options.progress = false;
    return group->Run(
        [&](Transport& transport) { return TrainRank(job_, ops_, kernels_, transport, options); });
  }
  std::string trace() const { return dir_ / "t.json"; }
  Json Read() const { return Json::parse(std::ifstream(trace())); }
  // Payload that all ranks sent in a step.
  int64_t BytesSent(int64_t step) const {
    std::ifstream in(dir_ / "metrics");
    for (std::string line; std::getline(in, line);) {
      const Json row = Json::parse(line);
      if (row["step"] == step) return row["bytes_sent"];
    }
    return -1;
  }
  Plan PlanOf(int rank) {
    absl::StatusOr<Program> program =
        Compile(*TrainGraph(job_, ops_), ops_, CompileOptionsOf(job_));
    return *InstantiatePlan(*program, rank);
  }

  const fs::path dir_;
  OpRegistry ops_;
  KernelTable kernels_;
  Job job_;
  int ranks_ = 0;
};

TEST_P(TraceTest, HasEveryFiringInOrderWithItsBytes) {
  const absl::Status trained = Train({"log.trace_steps=3:5"});
  ASSERT_TRUE(trained.ok()) << trained;
  const Json file = Read();
  EXPECT_EQ(file["otherData"]["first_step"], 3);
  EXPECT_EQ(file["otherData"]["last_step"], 5);
  ASSERT_EQ(file["otherData"]["ranks"].size(), static_cast<size_t>(ranks_));

  // (rank, name of actor or call, step, microbatch) of every event, and how often.
  std::map<std::tuple<int, std::string, int64_t, int64_t>, int> actors, calls;
  std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> tracks;
  std::map<int64_t, int64_t> sent;
  std::set<std::string> kinds;
  double earliest = 1e300;
  for (const Json& event : file["traceEvents"]) {
    if (event["ph"] == "M") continue;
    ASSERT_EQ(event["ph"], "X");
    const Json& args = event["args"];
    const int64_t step = args["step"];
    const std::tuple key(event["pid"].get<int>(), event["name"].get<std::string>(), step,
                         args["microbatch"].get<int64_t>());
    const double begin = event["ts"], end = begin + event["dur"].get<double>();
    earliest = std::min(earliest, begin);
    EXPECT_GE(end, begin);
    ++(event["cat"] == "kernel" ? calls : actors)[key];
    if (event["cat"] == "actor") continue;
    tracks[{event["pid"], event["tid"]}].emplace_back(begin, end);
    kinds.insert(args["kind"].get<std::string>());
    if (event["cat"] == "collective") sent[step] += args["bytes_sent"].get<int64_t>();
    if (event["cat"] == "collective" && args["bytes"] > 0 && end > begin) {
      EXPECT_GT(args["busbw_gb_per_s"], 0);
    }
    if (args["op"] == "einsum") {
      EXPECT_GT(args["flops"], 0);
      EXPECT_GT(args["bytes"], 0);
    }
  }
  EXPECT_EQ(earliest, 0);

  size_t firings = 0;
  for (int rank = 0; rank < ranks_; ++rank) {
    const Plan plan = PlanOf(rank);
    for (const ActorDef& actor : plan.actors()) {
      for (int64_t step = 3; step <= 5; ++step) {
        for (int64_t m = 0; m < actor.firings_per_step(); ++m) {
          EXPECT_EQ(actors.count({rank, actor.name(), step, m}), 1u)
              << rank << " " << actor.name() << " " << step << " " << m;
          ++firings;
          for (const KernelCallDef& call : actor.compute().calls()) {
            EXPECT_EQ(calls.count({rank, call.name(), step, m}), 1u) << call.name();
          }
        }
      }
    }
  }
  EXPECT_EQ(actors.size(), firings);

  // Times are microseconds with three digits: what touches may overlap by their rounding.
  for (auto& [track, events] : tracks) {
    std::sort(events.begin(), events.end());
    for (size_t i = 1; i < events.size(); ++i) {
      EXPECT_LE(events[i - 1].second, events[i].first + 1e-3) << track.first << " " << track.second;
    }
  }
  for (int64_t step = 3; step <= 5; ++step) EXPECT_EQ(sent[step], BytesSent(step));
  if (ranks_ > 1) {
    EXPECT_GT(sent[3], 0);
    EXPECT_TRUE(kinds.count("collective"));
  }
  for (const char* kind : {"contraction", "attention", "head", "norm", "embedding", "optimizer",
                           "pointwise", "feed", "fetch"}) {
    EXPECT_TRUE(kinds.count(kind)) << kind;
  }
}

TEST_P(TraceTest, OfARunThatEndsBefore) {
  // The first step ends the run, and the second, which is in flight then.
  ASSERT_TRUE(Train({"log.trace_steps=1:5"}, {.max_minutes = 0}).ok());
  EXPECT_EQ(Read()["otherData"]["last_step"], 2);
  fs::remove_all(dir_);
  ASSERT_TRUE(Train({"log.trace_steps=5:6"}, {.max_minutes = 0}).ok());
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), {}), 1);  // the metrics
}

TEST_P(TraceTest, OfARunThatFailsThereIsNoPart) {
  const std::atomic<bool> interrupted{true};
  const absl::Status status = Train({}, {.interrupted = &interrupted});
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), {}), 1);  // the metrics
}

INSTANTIATE_TEST_SUITE_P(Meshes, TraceTest,
                         ::testing::Values("data:1", "data:2", "data:2,stage:2"));

}  // namespace
}  // namespace weft
