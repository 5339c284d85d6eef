// Memory that plans share: nothing is overwritten before its last reader is done, whatever the
// durations of kernels and transfers, as a checker over the plan proves; the arena is near its
// lower bound.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "graph/graph_builder.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "parallel/compile.h"
#include "runtime/box_proto.h"
#include "runtime/dtype.h"
#include "runtime/logging.h"
#include "tests/system/memory_proof.h"

namespace weft {
namespace {

class PlanMemoryTest : public testing::Test {
 protected:
  PlanMemoryTest() { DefineAllOps(ops_); }

  Program CompileTiny(const std::string& mesh, std::vector<std::string> sets = {},
                      int64_t memory_bytes = 0, DeviceKind device = DeviceKind::kCpu) {
    sets.push_back("data.sequence=32");
    const absl::StatusOr<Job> job =
        LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt", {.sets = sets, .mesh = mesh});
    CHECK(job.ok()) << job.status();
    absl::StatusOr<Graph> graph = TrainGraph(*job, ops_);
    CHECK(graph.ok()) << graph.status();
    CompileOptions options;
    options.microbatches = static_cast<int>(job->train().microbatches());
    options.memory_bytes = memory_bytes;
    options.device = device;
    // Small buckets and slow links: many transfers are under way while compute goes on.
    options.cost.link_latency = 1e-6;
    options.cost.link_bytes_per_second = 2e8;
    absl::StatusOr<Program> program = Compile(*std::move(graph), ops_, options);
    CHECK(program.ok()) << program.status();
    return *std::move(program);
  }

  OpRegistry ops_;
};

TEST_F(PlanMemoryTest, NothingIsOverwrittenEarlyWhateverTheDurations) {
  int edges = 0;
  for (const char* mesh : {"data:1", "data:2", "data:3", "model:2", "model:4", "data:2,model:2",
                           "stage:2", "stage:2,model:2"}) {
    for (const int microbatches : {1, 4}) {
      const Program program =
          CompileTiny(mesh, {absl::StrCat("train.microbatches=", microbatches)});
      for (const int rank : program.graph.meshes[0].ranks()) {
        const absl::StatusOr<Plan> plan = InstantiatePlan(program, rank);
        ASSERT_TRUE(plan.ok()) << plan.status();
        for (const ChannelDef& channel : plan->channels()) edges += channel.buffers_size() == 0;
        MemoryProof proof(*plan);
        ASSERT_TRUE(proof.Run(3)) << mesh << " rank " << rank;
        EXPECT_TRUE(proof.conflicts().empty())
            << mesh << ", " << microbatches << " microbatches, rank " << rank << ":\n"
            << absl::StrJoin(proof.conflicts(), "\n");
        EXPECT_GT(proof.uses(), 1000);
      }
    }
  }
  EXPECT_GT(edges, 0) << "no plan shares memory across streams";
}

// The judge must see what is wrong: without their reuse edges the same plans are unsafe.
TEST_F(PlanMemoryTest, WithoutEdgesSomethingIsOverwritten) {
  const Program program = CompileTiny("data:2", {"train.microbatches=4"});
  absl::StatusOr<Plan> plan = InstantiatePlan(program, 0);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const int kept = static_cast<int>(program.stages[0].lowered.channels.size());
  ASSERT_GT(plan->channels_size(), kept);
  plan->mutable_channels()->DeleteSubrange(kept, plan->channels_size() - kept);
  for (ActorDef& actor : *plan->mutable_actors()) {
    const auto cut = [kept](auto* ports, auto* after) {
      int left = 0;  // reuse edges come last
      while (left < ports->size() && ports->Get(left) < kept) ++left;
      ports->Truncate(left);
      if (!after->empty()) after->Truncate(left);
    };
    cut(actor.mutable_inputs(), actor.mutable_free_after());
    cut(actor.mutable_outputs(), actor.mutable_full_after());
  }
  MemoryProof proof(*plan);
  ASSERT_TRUE(proof.Run(3));
  EXPECT_FALSE(proof.conflicts().empty());
}

// A reuse edge that left before the last call that touches the memory would be seen as well.
TEST_F(PlanMemoryTest, EdgesLeaveRightAfterTheLastUse) {
  int early = 0, needed = 0;
  for (const char* mesh : {"data:2", "model:2", "data:2,model:2"}) {
    const Program program = CompileTiny(mesh, {"train.microbatches=4"});
    const absl::StatusOr<Plan> plan = InstantiatePlan(program, 0);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const int kept = static_cast<int>(program.stages[0].lowered.channels.size());
    for (int a = 0; a < plan->actors_size(); ++a) {
      const ActorDef& actor = plan->actors(a);
      for (int i = 0; i < actor.full_after_size(); ++i) {
        const int after = actor.full_after(i);
        if (actor.outputs(i) < kept || after == actor.compute().calls_size()) continue;
        ++early;
        if (after == 1) continue;
        Plan earlier = *plan;
        earlier.mutable_actors(a)->set_full_after(i, after - 1);
        MemoryProof proof(earlier);
        ASSERT_TRUE(proof.Run(3));
        needed += !proof.conflicts().empty();
      }
    }
  }
  EXPECT_GT(early, 0) << "no reuse edge leaves within a segment";
  EXPECT_GT(needed, 0);
}

// What a rank gives to a gather, and nobody else reads, lies from the start where the gather leaves
// it: within what is gathered.
TEST_F(PlanMemoryTest, APartIsMadeWithinWhatIsGathered) {
  for (const int microbatches : {1, 4}) {
    const Program program =
        CompileTiny("data:2", {"train.dtype=BF16", "plan.shard_states=ALWAYS",
                               absl::StrCat("train.microbatches=", microbatches)});
    for (const int rank : {0, 1}) {
      const absl::StatusOr<Plan> plan = InstantiatePlan(program, rank);
      ASSERT_TRUE(plan.ok()) << plan.status();
      int within = 0, behind = 0;
      for (const ActorDef& actor : plan->actors()) {
        if (!actor.has_exchange() || actor.exchange().combine()) continue;
        const int in = actor.exchange().input().buffer(), out = actor.exchange().output().buffer();
        if (in < 0 || out < 0 || plan->buffers(in).offsets().empty()) continue;
        if (plan->buffers(in).shape_size() == 0 || plan->buffers(out).offsets().empty()) continue;
        const int64_t apart = plan->buffers(in).offsets(0) - plan->buffers(out).offsets(0);
        const absl::StatusOr<Box> part = FromProto(plan->buffers(in).box());
        const absl::StatusOr<Box> whole = FromProto(plan->buffers(out).box());
        ASSERT_TRUE(part.ok() && whole.ok());
        const int64_t bytes =
            whole->elements() * SizeOf(static_cast<DType>(plan->buffers(out).dtype()));
        within += part->elements() < whole->elements() && apart >= 0 && apart < bytes;
        behind += apart > 0 && apart < bytes;
      }
      EXPECT_GT(within, 10);
      EXPECT_EQ(behind > 0, rank == 1);
    }
  }
}

// Lives that recur by microbatch, in different company each time, cannot always meet the bound.
TEST_F(PlanMemoryTest, ArenasAreNearTheLowerBound) {
  for (const char* mesh : {"data:1", "data:2", "model:2", "data:2,model:2"}) {
    for (const int microbatches : {1, 4}) {
      const Program program =
          CompileTiny(mesh, {absl::StrCat("train.microbatches=", microbatches)});
      const absl::StatusOr<Plan> plan = InstantiatePlan(program, 0);
      ASSERT_TRUE(plan.ok()) << plan.status();
      const double ratio =
          static_cast<double>(plan->arena_bytes()) / static_cast<double>(plan->arena_lower_bound());
      EXPECT_LE(ratio, microbatches == 1 ? 1.01 : 1.02) << mesh << ", " << microbatches << " mb";
      RecordProperty(absl::StrCat(mesh, "_", microbatches), std::to_string(ratio));
    }
  }
}

// A value leaves for the communication stream while its own segment reads on: what is over when the
// message leaves is less than what the segment does with the value.
TEST_F(PlanMemoryTest, AValueThatLeavesEarlyAndIsReadOn) {
  GraphBuilder g(ops_, *Mesh::Parse("data:2"));
  const Value x = g.Input("x", {{32, 128}, DType::kF32});
  g.Annotate(x, "[data:S(0)]");
  const auto scale = [&](Value v, double factor) {
    return g.Op("scale", {v}, {{"factor", factor}});
  };
  const Value hidden = scale(x, 1);
  g.Annotate(hidden, "[data:S(0)]");
  Value last = hidden;
  for (int i = 0; i < 6; ++i) last = scale(last, 1);
  const Value read_on = g.Op("add", {last, hidden});
  g.Annotate(read_on, "[data:S(0)]");
  const Value everywhere = scale(hidden, 2);
  g.Annotate(everywhere, "[data:B]");
  g.Output("read_on", read_on);
  g.Output("everywhere", everywhere);
  absl::StatusOr<Graph> graph = g.Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  const absl::StatusOr<Program> program = Compile(*std::move(graph), ops_, CompileOptions());
  ASSERT_TRUE(program.ok()) << program.status();
  const absl::StatusOr<Plan> plan = InstantiatePlan(*program, 0);
  ASSERT_TRUE(plan.ok()) << plan.status();
  MemoryProof proof(*plan);
  ASSERT_TRUE(proof.Run(3));
  EXPECT_TRUE(proof.conflicts().empty()) << absl::StrJoin(proof.conflicts(), "\n");
}

// The updates of all parameters can be made together: none has its scratch where another has it, or
// the gradient that an earlier one was the last to read.
TEST_F(PlanMemoryTest, CallsOfOneKernelInARowHaveScratchOfTheirOwn) {
  for (const char* mesh : {"data:1", "data:2"}) {
    const Program program = CompileTiny(mesh, {}, 0, DeviceKind::kCuda);
    const absl::StatusOr<Plan> plan = InstantiatePlan(program, 0);
    ASSERT_TRUE(plan.ok()) << plan.status();
    size_t most = 0;
    for (const ActorDef& actor : plan->actors()) {
      struct Range {
        int64_t begin, end;
        int call;
      };
      std::vector<Range> scratch, operands;
      for (int c = 0; c < actor.compute().calls_size(); ++c) {
        const KernelCallDef& call = actor.compute().calls(c);
        if (call.kernel() != "adamw") continue;
        if (call.workspace_bytes() > 0) {
          const int64_t begin = call.workspace_offset();
          scratch.push_back({begin, begin + call.workspace_bytes(), c});
        }
        for (const auto* list : {&call.inputs(), &call.outputs()}) {
          for (const OperandDef& operand : *list) {
            if (operand.buffer() < 0) continue;
            const BufferDef& buffer = plan->buffers(operand.buffer());
            const int64_t bytes = FromProto(buffer.box()).value().elements() *
                                  SizeOf(static_cast<DType>(buffer.dtype()));
            for (const int64_t at : buffer.offsets()) operands.push_back({at, at + bytes, -1});
          }
        }
      }
      most = std::max(most, scratch.size());
      for (const Range& a : scratch) {
        for (const auto* others : {&scratch, &operands}) {
          for (const Range& b : *others) {
            EXPECT_TRUE(a.call == b.call || a.end <= b.begin || b.end <= a.begin)
                << actor.name() << ", call " << a.call;
          }
        }
      }
    }
    EXPECT_GT(most, 10u) << mesh;
  }
}

TEST_F(PlanMemoryTest, OverBudgetNamesTheHoldersAndTheRemedy) {
  const Program program = CompileTiny("data:2", {}, /*memory_bytes=*/1'000'000);
  const absl::Status status = InstantiatePlan(program, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  for (const char* part : {"rank 1 needs", "may hold 977 KiB", "largest holders", "mesh ax"}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << status;
  }
  const Program enough = CompileTiny("data:2", {}, /*memory_bytes=*/1'000'000'000);
  EXPECT_TRUE(InstantiatePlan(enough, 1).ok());
}

}  // namespace
}  // namespace weft
