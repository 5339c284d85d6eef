// Planning at scale: a decoder of 96 layers on three mesh axes, and the one of
// examples/jobs/decoder_175b.pbtxt on its 1,024 ranks, in this process. The time that it takes is
// measured by benchmarks/compile.cc.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "graph/decoder.h"
#include "graph/graph_builder.h"
#include "graph/optimizer.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "launcher/rank_twins.h"

namespace weft {
namespace {

constexpr size_t kMostPlanBytes = 50'000'000;
constexpr int64_t kMostProcessBytes = int64_t{4} << 30;

// The most memory that this process has held so far.
int64_t PeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

// As many layers as the largest models have, whatever their width: every layer gets what the first
// one gets.
TEST(Scale, Decoder96LayersOnThreeAxes) {
  OpRegistry ops;
  DefineAllOps(ops);
  GraphBuilder g(ops, *Mesh::Parse("pod:2,data:2,model:2"));
  const DecoderConfig config = {.layers = 96, .hidden = 64, .heads = 4, .ffn = 128, .vocab = 256};
  const Value loss = BuildDecoderLoss(g, config, /*batch=*/8, /*sequence=*/32, DType::kF32);
  ASSERT_TRUE(AddOptimizer(g, loss, {.clip_norm = 1}).ok());
  auto graph = g.Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto program = Compile(*std::move(graph), ops, CompileOptions());
  ASSERT_TRUE(program.ok()) << program.status();
  std::map<std::string, std::set<std::string>> layouts;  // of a layer's variables, by name
  int variables = 0;
  for (const Variable& variable : program->graph.variables) {
    const ValueInfo& info = program->graph.info(variable.value);
    if (!absl::StartsWith(info.name, "layers.")) continue;
    const std::string name = info.name.substr(info.name.find('.', sizeof "layers."));
    layouts[name].insert(ToString(info.layout, program->graph.mesh(variable.value)));
    ++variables;
  }
  EXPECT_EQ(variables, static_cast<int>(layouts.size()) * config.layers);
  for (const auto& [name, seen] : layouts) EXPECT_EQ(seen.size(), 1u) << name;
  const auto plan = InstantiatePlan(*program, 0);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_LT(plan->ByteSizeLong(), kMostPlanBytes);
}

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
  // 16 of each stage: gradients of norms go from a split over model to one over data, in which each
  // of the 8 model ranks has another pair of the 16 data ranks as its own.
  EXPECT_LE(std::set<int>(twins->begin(), twins->end()).size(), 8u * 16);
  size_t largest = 0;
  const auto simulation = SimulatePlans(
      1024,
      [&](int rank) -> absl::StatusOr<Plan> {
        absl::StatusOr<Plan> plan = InstantiatePlan(*program, rank);
        if (plan.ok()) {
          EXPECT_LT(plan->ByteSizeLong(), kMostPlanBytes) << "rank " << rank;
          largest = std::max(largest, plan->ByteSizeLong());
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
  EXPECT_LT(PeakBytes(), kMostProcessBytes);
  std::printf("1,024 ranks: the largest plan has %.2f MB, the process took %.0f MiB at most\n",
              static_cast<double>(largest) / 1e6, static_cast<double>(PeakBytes()) / (1 << 20));
}

}  // namespace
}  // namespace weft
