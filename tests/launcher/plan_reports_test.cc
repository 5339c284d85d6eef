#include "launcher/machine_memory.h"

#include <gtest/gtest.h>

#include "kernels/all_ops.h"
#include "launcher/cluster.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "launcher/memory_holders.h"
#include "launcher/peak_flops.h"
#include "launcher/plan_output.h"
#include "launcher/plan_text.h"
#include "parallel/compile.h"

namespace weft {
namespace {

// The plan of rank 0 of the tiny job on two ranks.
class PlanReportsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    DefineAllOps(ops_);
    absl::StatusOr<Job> job =
        LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt", {.sets = {}, .mesh = "data:2"});
    ASSERT_TRUE(job.ok()) << job.status();
    absl::StatusOr<Graph> graph = TrainGraph(*job, ops_);
    ASSERT_TRUE(graph.ok()) << graph.status();
    model_flops_ = ModelFlops(*graph, 1);
    absl::StatusOr<Program> program = Compile(*std::move(graph), ops_, {});
    ASSERT_TRUE(program.ok()) << program.status();
    for (int rank : {0, 1}) {
      absl::StatusOr<Plan> plan = InstantiatePlan(*program, rank);
      ASSERT_TRUE(plan.ok()) << plan.status();
      plans_.push_back(*std::move(plan));
    }
  }

  OpRegistry ops_;
  std::vector<Plan> plans_;
  double model_flops_ = 0;
};

// Split over the two ranks, but for those too small to be worth a message.
TEST_F(PlanReportsTest, VariablesAreParametersAndTwoStates) {
  const int64_t all = 3 * 853120 * 4, norms = 3 * 9 * 128 * 4;
  EXPECT_EQ(VariableBytes(plans_[0]), (all - norms) / 2 + norms);
}

TEST_F(PlanReportsTest, HoldersAreSortedAndHaveLives) {
  const std::vector<MemoryHolder> holders = MemoryHolders(plans_[0]);
  ASSERT_EQ(static_cast<int>(holders.size()), plans_[0].buffers_size() + 1);
  for (size_t i = 1; i < holders.size(); ++i) EXPECT_GE(holders[i - 1].bytes, holders[i].bytes);
  for (const MemoryHolder& holder : holders) EXPECT_FALSE(holder.from.empty()) << holder.name;
}

TEST_F(PlanReportsTest, TheMachineHasMemory) { EXPECT_GT(MachineMemoryBytes(), int64_t{1} << 28); }

// The same job on a data axis whose measured link is slow, and on one whose link is fast.
TEST_F(PlanReportsTest, MeasuredLinksChangePrices) {
  const absl::StatusOr<Job> job =
      LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt", {.sets = {}, .mesh = "data:2"});
  ASSERT_TRUE(job.ok()) << job.status();
  const std::string machine = "flops: 5e10 memory_bandwidth: 1e10 network { bandwidth: 2e9 }";
  const auto reduce_ticks = [&](const std::string& group) {
    int64_t ticks = 0;
    const auto cluster = ParseCluster(machine + group, "c");
    EXPECT_TRUE(cluster.ok()) << cluster.status();
    CompileOptions options = CompileOptionsOf(*job);
    options.cost = CostModelOf(*cluster, 2);
    const auto program = Compile(*TrainGraph(*job, ops_), ops_, options);
    EXPECT_TRUE(program.ok()) << program.status();
    for (const LoweredActor& actor : program->stages[0].lowered.actors) {
      if (actor.kind == LoweredActor::Kind::kReshard) ticks += actor.ticks;
    }
    return ticks;
  };
  const int64_t plain = reduce_ticks("");
  EXPECT_GT(plain, 0);
  EXPECT_EQ(reduce_ticks("group { axis: 'data' size: 4 bandwidth: 2e6 }"), plain);
  EXPECT_EQ(reduce_ticks("group { axis: 'model' size: 2 bandwidth: 2e6 }"), plain);
  EXPECT_GT(reduce_ticks("group { axis: 'data' size: 2 bandwidth: 2e8 }"), 5 * plain);
  EXPECT_LT(reduce_ticks("group { axis: 'data' size: 2 bandwidth: 2e11 }"), plain);

  PlanReportOptions options;
  const auto cluster = ParseCluster(machine + "group { axis: 'data' size: 2 bandwidth: 2e8 }", "c");
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  options.cluster = &*cluster;
  const auto report = ReportPlan(*job, ops_, options);
  ASSERT_TRUE(report.ok()) << report.status();
  const std::string text = PlanText(*report);
  EXPECT_NE(text.find("measured along data of 2: 0.2 GB/s"), std::string::npos) << text;
  const auto plain_report = ReportPlan(*job, ops_);
  ASSERT_TRUE(plain_report.ok()) << plain_report.status();
  EXPECT_EQ(PlanText(*plain_report).find("measured along"), std::string::npos);
  ASSERT_EQ(report->prediction.busy[1].first, "communication");
  EXPECT_GT(report->prediction.busy[1].second, 2 * plain_report->prediction.busy[1].second);
}

// 6 operations a matrix parameter and token: products forward, and two more backward.
TEST_F(PlanReportsTest, ModelFlopsAreSixAParameterAndTokenAndAttention) {
  const double tokens = 16 * 128;
  const double products = 6.0 * (853120 - 256 * 128) * tokens;
  EXPECT_GT(model_flops_, products);
  EXPECT_LT(model_flops_, 1.5 * products);
}

TEST_F(PlanReportsTest, ThePeakIsMeasured) {
  KernelTable kernels;
  EXPECT_EQ(MeasurePeakFlops(ops_, kernels, DType::kF32), 0);
  FillCpuKernels(ops_, kernels);
  EXPECT_GT(MeasurePeakFlops(ops_, kernels, DType::kF32), 1e7);
}

}  // namespace
}  // namespace weft
