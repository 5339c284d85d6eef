// Laws of simulated jobs: what holds whatever the cluster's numbers are.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "actors/simulation.h"
#include "kernels/all_ops.h"
#include "launcher/cluster.h"
#include "launcher/commands.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "launcher/simulate_text.h"
#include "parallel/compile.h"

namespace weft {
namespace {

const char kTiny[] = WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt";
const char kNodes[] = WEFT_SOURCE_DIR "/examples/clusters/cpu_nodes.pbtxt";

// The plans of the tiny job for a cluster of small nodes, so that both kinds of links are used.
class SimulateLaw : public testing::TestWithParam<std::tuple<const char*, int>> {
 protected:
  void SetUp() override {
    DefineAllOps(ops_);
    const auto [mesh, microbatches] = GetParam();
    const auto job = LoadJob(kTiny, {.sets = {absl::StrCat("train.microbatches=", microbatches),
                                              "train.global_batch=12", "data.sequence=32"},
                                     .mesh = mesh});
    ASSERT_TRUE(job.ok()) << job.status();
    auto cluster = LoadCluster(kNodes);
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *cluster;
    cluster_.set_ranks_per_node(2);
    auto graph = TrainGraph(*job, ops_);
    ASSERT_TRUE(graph.ok()) << graph.status();
    CompileOptions options;
    options.microbatches = microbatches;
    const absl::StatusOr<Mesh> on = MeshOf(*job);
    ASSERT_TRUE(on.ok()) << on.status();
    options.cost = CostModelOf(cluster_, on->size());
    const auto program = Compile(*std::move(graph), ops_, options);
    ASSERT_TRUE(program.ok()) << program.status();
    for (int rank : on->ranks()) {
      const auto plan = InstantiatePlan(*program, rank);
      ASSERT_TRUE(plan.ok()) << plan.status();
      plans_.push_back(*plan);
    }
  }

  Simulation Simulate(const std::vector<Plan>& plans, const LinkTable& links, int steps = 2) const {
    const auto simulation = SimulatePlans(
        static_cast<int>(plans.size()), [&plans](int rank) { return plans[rank]; }, links, steps);
    EXPECT_TRUE(simulation.ok()) << simulation.status();
    return simulation.value_or(Simulation());
  }

  // The same plans on ranks whose computation takes `factor` times as long.
  std::vector<Plan> Slower(double factor) const {
    std::vector<Plan> plans = plans_;
    for (Plan& plan : plans) {
      for (ActorDef& actor : *plan.mutable_actors()) {
        if (actor.has_compute()) actor.set_seconds(actor.seconds() * factor);
      }
    }
    return plans;
  }

  OpRegistry ops_;
  Cluster cluster_;
  std::vector<Plan> plans_;
};

TEST_P(SimulateLaw, BytesEqualThePlans) {
  const Simulation simulation = Simulate(plans_, LinksOf(cluster_), 3);
  for (size_t r = 0; r < plans_.size(); ++r) {
    EXPECT_EQ(simulation.ranks[r].bytes_sent, plans_[r].bytes_sent_per_step()) << "rank " << r;
  }
}

TEST_P(SimulateLaw, FreeLinksExposeNothing) {
  cluster_.mutable_node()->set_latency(0);
  cluster_.mutable_node()->set_bandwidth(std::numeric_limits<double>::infinity());
  *cluster_.mutable_network() = cluster_.node();
  for (const Simulation::Rank& rank : Simulate(plans_, LinksOf(cluster_)).ranks) {
    EXPECT_EQ(rank.exposed_communication, 0);
  }
}

TEST_P(SimulateLaw, AStepHoldsItsComputationAndExposedCommunication) {
  const Simulation simulation = Simulate(plans_, LinksOf(cluster_));
  for (const Simulation::Rank& rank : simulation.ranks) {
    EXPECT_GT(rank.busy[0], 0);
    EXPECT_LE(rank.busy[0] + rank.exposed_communication, simulation.step_seconds * (1 + 1e-9));
    EXPECT_LE(rank.exposed_communication, rank.busy[1] * (1 + 1e-9));
    if (simulation.ranks.size() == 1) {
      EXPECT_NEAR(rank.busy[0], simulation.step_seconds, 1e-9 * simulation.step_seconds);
      EXPECT_TRUE(simulation.waits.empty());
    }
  }
}

TEST_P(SimulateLaw, SlowerMachinesNeverShortenAStep) {
  const double step = Simulate(plans_, LinksOf(cluster_)).step_seconds;
  double last = 0;
  for (const double factor : {0.0, 0.5, 1.0, 2.0, 3.0}) {
    const double now = Simulate(Slower(factor), LinksOf(cluster_)).step_seconds;
    EXPECT_GE(now, last) << "factor " << factor;
    last = now;
  }
  EXPECT_LE(last, 3 * step * (1 + 1e-9));
  for (const double bandwidth : {1e12, 1e9, 1e7}) {
    cluster_.mutable_network()->set_bandwidth(bandwidth);
    cluster_.mutable_node()->set_bandwidth(bandwidth);
    const double now = Simulate(plans_, LinksOf(cluster_)).step_seconds;
    EXPECT_GE(now, bandwidth == 1e12 ? 0 : last) << "bandwidth " << bandwidth;
    last = now;
  }
}

INSTANTIATE_TEST_SUITE_P(Meshes, SimulateLaw,
                         testing::Combine(testing::Values("data:1", "data:3", "model:3",
                                                          "data:2,model:2", "stage:3"),
                                          testing::Values(1, 3)),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param);
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !isalnum(c); }, '_');
                           return absl::StrCat(name, "_m", std::get<1>(info.param));
                         });

TEST(Simulate, DescribesTheJobOnTheCluster) {
  OpRegistry ops;
  DefineAllOps(ops);
  const auto job = LoadJob(kTiny, {.sets = {}, .mesh = "data:16,model:4"});
  ASSERT_TRUE(job.ok()) << job.status();
  const auto text = SimulateText(*job, *LoadCluster(kNodes), ops, 2);
  ASSERT_TRUE(text.ok()) << text.status();
  for (const char* part : {"64 ranks on 8 nodes of cluster cpu_nodes", "step time", "tokens per",
                           "exposed communication", "planned memory", "\n     63 ", "waits for"}) {
    EXPECT_NE(text->find(part), std::string::npos) << part << "\n" << *text;
  }
}

TEST(Simulate, BadFilesExitWithTwo) {
  const std::string bad = testing::TempDir() + "/bad_cluster.pbtxt";
  std::ofstream(bad) << "flops: 1e9 flosp: 2";
  SimulateCommand command;
  command.job.path = kTiny;
  command.cluster = kNodes;
  EXPECT_EQ(weft::Run(command), kExitDone);
  command.cluster = bad;
  EXPECT_EQ(weft::Run(command), kExitBadJob);
  command.cluster = bad + ".absent";
  EXPECT_EQ(weft::Run(command), kExitBadJob);
  command.cluster = kNodes;
  command.job.overrides.sets = {"train.steps=-1"};
  EXPECT_EQ(weft::Run(command), kExitBadJob);
}

}  // namespace
}  // namespace weft
