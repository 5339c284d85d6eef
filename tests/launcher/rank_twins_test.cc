// Twins stand for each other: a simulation of one rank of each kind gives what that of all ranks
// gives.
#include "launcher/rank_twins.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/all_ops.h"
#include "launcher/cluster.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"

namespace weft {
namespace {

class RankTwinsTest : public testing::Test {
 protected:
  RankTwinsTest() {
    DefineAllOps(ops_);
    auto cluster = LoadCluster(WEFT_SOURCE_DIR "/examples/clusters/cpu_nodes.pbtxt");
    EXPECT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *cluster;
  }

  Program CompileTiny(const std::string& mesh, const std::string& states = "ALWAYS") {
    const auto job = LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt",
                             {.sets = {"train.microbatches=3", "train.global_batch=48",
                                       "data.sequence=16", "model.decoder.kv_heads=4",
                                       "plan.shard_states=" + states},
                              .mesh = mesh});
    EXPECT_TRUE(job.ok()) << job.status();
    auto graph = TrainGraph(*job, ops_);
    EXPECT_TRUE(graph.ok()) << graph.status();
    CompileOptions options = CompileOptionsOf(*job);
    options.cost = CostModelOf(cluster_, 1 << 20);
    auto program = Compile(*std::move(graph), ops_, options);
    EXPECT_TRUE(program.ok()) << program.status();
    return *std::move(program);
  }

  OpRegistry ops_;
  Cluster cluster_;
};

TEST_F(RankTwinsTest, OneOfEachKindSimulatesAsAll) {
  // Nodes that the mesh fits, and nodes that it does not.
  for (const char* mesh : {"data:4,model:2", "data:3,model:3", "data:2,stage:2,model:2"}) {
    const Program program = CompileTiny(mesh);
    const int size = WorldSize(program.graph);
    for (const int per_node : {1, 2, 3}) {
      cluster_.set_ranks_per_node(per_node);
      const LinkTable links = LinksOf(cluster_);
      const auto twins = FindTwins(program, links);
      ASSERT_TRUE(twins.ok()) << twins.status();
      const auto plan_of = [&](int rank) { return InstantiatePlan(program, rank); };
      std::vector<int> ranks(size);
      std::iota(ranks.begin(), ranks.end(), 0);
      const auto all = SimulatePlans(size, plan_of, links, 2, {}, ranks);
      const auto some = SimulatePlans(size, plan_of, links, 2, *twins, ranks);
      ASSERT_TRUE(all.ok()) << all.status();
      ASSERT_TRUE(some.ok()) << some.status();
      const std::string what = absl::StrCat(mesh, ", ", per_node, " ranks a node");
      EXPECT_EQ(some->step_seconds, all->step_seconds) << what;
      for (int rank = 0; rank < size; ++rank) {
        EXPECT_EQ(some->ranks[rank].busy, all->ranks[rank].busy) << what << ", rank " << rank;
        EXPECT_EQ(some->ranks[rank].exposed_communication, all->ranks[rank].exposed_communication);
        EXPECT_TRUE(some->ranks[rank].first_step == all->ranks[rank].first_step) << rank;
        EXPECT_FALSE(some->ranks[rank].first_step[0].empty());
        EXPECT_EQ(some->ranks[rank].bytes_sent, all->ranks[rank].bytes_sent);
        EXPECT_EQ(some->ranks[rank].memory_bytes, all->ranks[rank].memory_bytes);
      }
    }
  }
}

// Few kinds a stage, where nothing is split unevenly: a rank whose own summand comes first stages one
// more, so that kinds double with an axis that sums.
TEST_F(RankTwinsTest, EvenMeshesHaveFewKinds) {
  cluster_.set_ranks_per_node(4);
  const Program program = CompileTiny("data:8,stage:4,model:4", "NEVER");
  const auto twins = FindTwins(program, LinksOf(cluster_));
  ASSERT_TRUE(twins.ok()) << twins.status();
  EXPECT_EQ(std::set<int>(twins->begin(), twins->end()).size(), 32u);
}

TEST_F(RankTwinsTest, UnevenPartsAreOfDifferentKinds) {
  const Program program = CompileTiny("data:3,model:3");
  const auto twins = FindTwins(program, [](int, int) { return Link(); });
  ASSERT_TRUE(twins.ok()) << twins.status();
  EXPECT_GT(std::set<int>(twins->begin(), twins->end()).size(), 1u);
}

}  // namespace
}  // namespace weft
