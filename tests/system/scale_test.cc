// Planning at scale: the decoder of examples/jobs/decoder_175b.pbtxt on its 1,024 ranks, in this
// process.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "launcher/rank_twins.h"

namespace weft {
namespace {

constexpr size_t kMostPlanBytes = 50'000'000;

TEST(ScaleSlow, Decoder175BOn1024Ranks) {
  OpRegistry ops;
  DefineAllOps(ops);
  const auto job = LoadJob(WEFT_SOURCE_DIR "/examples/jobs/decoder_175b.pbtxt");
  ASSERT_TRUE(job.ok()) << job.status();
  auto graph = TrainGraph(*job, ops);
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto program = Compile(*std::move(graph), ops, CompileOptionsOf(*job));
  ASSERT_TRUE(program.ok()) << program.status();
  ASSERT_EQ(WorldSize(program->graph), 1024);
  ASSERT_EQ(program->stages.size(), 8u);
  const Link link{program->cost.link_latency, program->cost.link_bytes_per_second};
  const LinkTable links = [link](int, int) { return link; };
  const auto twins = FindTwins(*program, links);
  ASSERT_TRUE(twins.ok()) << twins.status();
  EXPECT_LE(std::set<int>(twins->begin(), twins->end()).size(), 64u);
  const auto simulation = SimulatePlans(
      1024,
      [&](int rank) -> absl::StatusOr<Plan> {
        absl::StatusOr<Plan> plan = InstantiatePlan(*program, rank);
        if (plan.ok()) {
          EXPECT_LT(plan->ByteSizeLong(), kMostPlanBytes) << "rank " << rank;
        }
        return plan;
      },
      links, 2, *twins);
  ASSERT_TRUE(simulation.ok()) << simulation.status();
  // A pipeline of 8 stages and 96 microbatches, not 8 stages one after the other.
  double busiest = 0;
  for (const Simulation::Rank& rank : simulation->ranks) {
    busiest = std::max(busiest, rank.busy[0] + rank.exposed_communication);
  }
  EXPECT_LT(simulation->step_seconds, 2 * busiest);
}

}  // namespace
}  // namespace weft
