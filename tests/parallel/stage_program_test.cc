// Pipeline stages: a program over several meshes, cut into what the ranks of each run.
#include "parallel/stage_program.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/graph_builder.h"
#include "gtest/gtest.h"
#include "parallel/compile.h"
#include "tests/parallel/toy_ops.h"

namespace weft {
namespace {

class StageProgramTest : public testing::Test {
 protected:
  // A forward and a backward pass by hand: stage s saves what it receives until its part of the way
  // back. Mesh 0 has all ranks.
  Program Pipeline(int stages, int microbatches) {
    GraphBuilder g(ops_, *Mesh::Parse(absl::StrCat("stage:", stages)));
    std::vector<int> meshes;
    for (Mesh& mesh : g.mesh().Cut(0)) meshes.push_back(g.AddMesh(std::move(mesh)));
    std::vector<Value> saved;
    Value x;
    for (int s = 0; s < stages; ++s) {
      const GraphBuilder::OnMesh there(g, meshes[s]);
      if (s == 0) x = g.Input("x", {{256, 256}, DType::kF32});
      x = g.Op("relu", {x}, {}, absl::StrCat("saved", s));
      saved.push_back(x);
    }
    Value dx = x;
    for (int s = stages - 1; s >= 0; --s) {
      const GraphBuilder::OnMesh there(g, meshes[s]);
      dx = g.Op("add", {dx, saved[s]}, {}, absl::StrCat("back", s));
    }
    const GraphBuilder::OnMesh first(g, meshes[0]);
    g.Output("sum", g.Op("accumulate", {g.Op("total", {dx})}));
    absl::StatusOr<Graph> graph = g.Build();
    EXPECT_TRUE(graph.ok()) << graph.status();
    CompileOptions options;
    options.microbatches = microbatches;
    options.cost.link_latency = 1e-9;
    options.cost.link_bytes_per_second = 1e15;
    absl::StatusOr<Program> program = Compile(*std::move(graph), ops_, options);
    EXPECT_TRUE(program.ok()) << program.status();
    return *std::move(program);
  }

  const OpRegistry ops_ = ToyOps();
};

TEST_F(StageProgramTest, ARankHasItsOwnStageAlone) {
  const Program program = Pipeline(3, 4);
  ASSERT_EQ(program.stages.size(), 3u);
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(program.StageOf(rank), &program.stages[rank]);
    EXPECT_EQ(program.stages[rank].meshes, (std::vector<int>{0, rank + 1}));
    const absl::StatusOr<Plan> plan = InstantiatePlan(program, rank);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->world_size(), 3);
    int computes = 0;
    for (const ActorDef& actor : plan->actors()) {
      for (const KernelCallDef& call : actor.compute().calls()) {
        if (call.name().rfind("saved", 0) != 0 && call.name().rfind("back", 0) != 0) continue;
        EXPECT_EQ(call.name().back(), '0' + rank);
        ++computes;
      }
    }
    EXPECT_EQ(computes, 2);
  }
  EXPECT_EQ(program.StageOf(3), nullptr);
  EXPECT_FALSE(InstantiatePlan(program, 3).ok());
}

TEST_F(StageProgramTest, EveryMessageHasAPartner) {
  const Program program = Pipeline(4, 2);
  std::map<std::vector<int>, int> balance;  // tag, from, to -> sends less receives
  for (int rank = 0; rank < 4; ++rank) {
    const absl::StatusOr<Plan> plan = InstantiatePlan(program, rank);
    ASSERT_TRUE(plan.ok()) << plan.status();
    for (const ActorDef& actor : plan->actors()) {
      const int tag = actor.exchange().tag();
      for (const PieceDef& piece : actor.exchange().sends()) ++balance[{tag, rank, piece.peer()}];
      for (const PieceDef& piece : actor.exchange().receives()) {
        if (piece.peer() != rank) --balance[{tag, piece.peer(), rank}];
      }
    }
  }
  EXPECT_GE(balance.size(), 6u);  // forward and back over three borders
  for (const auto& [message, count] : balance) EXPECT_EQ(count, 0);
}

// 1F1B: stage s of S holds S - s microbatches, and the step is as long as the pipeline needs.
TEST_F(StageProgramTest, OneForwardOneBackward) {
  constexpr int kMicrobatches = 8;
  for (const int stages : {2, 4}) {
    const Program program = Pipeline(stages, kMicrobatches);
    int64_t longest = 0;
    for (int s = 0; s < stages; ++s) {
      const StageProgram& stage = program.stages[s];
      for (const LoweredBuffer& buffer : stage.lowered.buffers) {
        // The last stage reads what it saved at once; what also leaves has one slot more.
        if (buffer.name == absl::StrCat("saved", s)) {
          EXPECT_EQ(buffer.slots, stages - s + (s + 1 < stages ? 1 : 0)) << buffer.name;
        }
      }
      int64_t busy = 0;
      int held = 0, most = 0;
      for (const ScheduledFiring& firing : stage.schedule.firings) {
        const LoweredActor& actor = stage.lowered.actors[firing.actor];
        if (actor.stream != StreamId::kCompute) continue;
        busy += firing.end - firing.begin;
        for (const LoweredCall& call : actor.calls) {
          if (call.name == absl::StrCat("saved", s)) ++held;
          most = std::max(most, held);
          if (call.name == absl::StrCat("back", s)) --held;
        }
      }
      EXPECT_EQ(held, 0);
      EXPECT_LE(most, stages - s + 1) << "stage " << s << " of " << stages;
      longest = std::max(longest, busy);
    }
    // One after the other the stages would take `stages` times as long.
    EXPECT_LT(program.stages[0].schedule.ticks,
              longest * (kMicrobatches + stages - 1) / kMicrobatches * 5 / 4);
  }
}

TEST_F(StageProgramTest, OneMeshIsOneStageWithOneSlot) {
  const Program program = Pipeline(1, 4);
  ASSERT_EQ(program.stages.size(), 1u);
  for (const LoweredBuffer& buffer : program.stages[0].lowered.buffers) {
    EXPECT_EQ(buffer.slots, buffer.name == "x" ? 2 : 1) << buffer.name;
  }
}

}  // namespace
}  // namespace weft
