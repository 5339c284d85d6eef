// The layouts that an expert would sign, found for a decoder without any annotation: Megatron-LM's
// split (arXiv 1909.08053) with its exact communication, split optimizer states where memory is
// short (ZeRO-1, arXiv 1910.02054), the head by vocabulary, and the mesh itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/all_ops.h"
#include "launcher/cluster.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "launcher/memory_holders.h"
#include "launcher/mesh_choice.h"
#include "parallel/compile.h"
#include "runtime/status.h"

namespace weft {
namespace {

using ::testing::HasSubstr;

constexpr int kLayers = 8;
constexpr int64_t kRows = 8, kSequence = 128, kHidden = 256, kVocab = 4096;

class DecoderLayouts : public ::testing::Test {
 protected:
  DecoderLayouts() { DefineAllOps(ops_); }

  static Job MakeJob(const std::string& mesh, const std::string& more = "",
                     const std::string& optimizer = "adamw { lr: 1e-3 } clip_norm: 1") {
    const absl::StatusOr<Job> job =
        ParseJob(absl::StrCat("name: 'd' model { decoder { layers: ", kLayers, " hidden: ", kHidden,
                              " heads: 8 kv_heads: 4 ffn: 768 vocab: ", kVocab,
                              " } } data { tokens: 'unused' sequence: ", kSequence, " } mesh: '",
                              mesh, "' train { steps: 1 global_batch: ", kRows, " } optimizer { ",
                              optimizer, " } ", more),
                 "test");
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *job : Job();
  }

  absl::StatusOr<Program> CompileWithoutAnnotations(const Job& job, CompileOptions options) {
    WEFT_ASSIGN_OR_RETURN(Graph graph, TrainGraph(job, ops_));
    for (ValueInfo& info : graph.values) info.annotation.reset();
    return Compile(std::move(graph), ops_, options);
  }

  static std::string LayoutOf(const Program& program, std::string_view name) {
    for (const ValueInfo& info : program.graph.values) {
      if (info.name == name) return ToString(info.layout, program.graph.meshes[info.mesh]);
    }
    return "no such value";
  }

  OpRegistry ops_;
};

TEST_F(DecoderLayouts, MegatronWithoutAnnotations) {
  struct Case {
    const char* mesh;
    int data, model;
  };
  for (const Case& c : {Case{"model:2", 1, 2}, Case{"model:4", 1, 4}, Case{"data:2,model:2", 2, 2},
                        Case{"data:2,model:4", 2, 4}}) {
    const Job job = MakeJob(c.mesh, "plan { shard_states: NEVER }");
    const absl::StatusOr<Program> program = CompileWithoutAnnotations(job, CompileOptionsOf(job));
    ASSERT_TRUE(program.ok()) << program.status();
    const std::string data = c.data > 1 ? "data:B, " : "";
    const std::string rows = c.data > 1 ? "data:S(0), " : "";
    for (int layer = 0; layer < kLayers; ++layer) {
      const std::string scope = absl::StrCat("layers.", layer, ".");
      const std::map<std::string, std::string> want = {
          {"attention.q", absl::StrCat("[", data, "model:S(1)]")},
          {"attention.k", absl::StrCat("[", data, "model:S(1)]")},
          {"attention.v", absl::StrCat("[", data, "model:S(1)]")},
          {"attention.o", absl::StrCat("[", data, "model:S(0)]")},
          {"mlp.gate", absl::StrCat("[", data, "model:S(1)]")},
          {"mlp.up", absl::StrCat("[", data, "model:S(1)]")},
          {"mlp.down", absl::StrCat("[", data, "model:S(0)]")},
          {"mlp.down.m", absl::StrCat("[", data, "model:S(0)]")},
          {"attention.norm", absl::StrCat("[", data, "model:B]")},
          {"attention.queries", absl::StrCat("[", rows, "model:S(2)]")},
          {"attention.output", absl::StrCat("[", rows, "model:P(sum)]")},
          {"mlp.silu_gate", absl::StrCat("[", rows, "model:S(2)]")},
          {"mlp.output", absl::StrCat("[", rows, "model:P(sum)]")},
          {"result", absl::StrCat("[", rows, "model:B]")},
      };
      for (const auto& [name, layout] : want) {
        EXPECT_EQ(LayoutOf(*program, scope + name), layout) << c.mesh << " " << scope + name;
      }
    }
    EXPECT_EQ(LayoutOf(*program, "head"), absl::StrCat("[", data, "model:S(0)]"));
    // One all-reduce of [rows, sequence, hidden] per attention and per MLP, forward and backward; a
    // ring moves 2 (N - 1) times the tensor. Apart from these an activation is reduced or gathered
    // only after the embedding and before the last norm's gradient.
    const int64_t bytes = 2 * (c.model - 1) * kRows * kSequence * kHidden * 4;
    int forward = 0, backward = 0, other = 0;
    for (const Conversion& conversion : program->conversions) {
      if (!conversion.microbatch || conversion.bytes < bytes / 4) continue;
      const bool reduces = conversion.how == "all-reduce over model" && conversion.bytes == bytes;
      if (reduces && absl::StartsWith(conversion.value, "layers.")) {
        ++forward;
      } else if (reduces && absl::StartsWith(conversion.value, "grad.")) {
        ++backward;
      } else {
        EXPECT_TRUE(conversion.value == "embed" || conversion.consumer == "grad.embedding_grad")
            << conversion.value << " for " << conversion.consumer << ": " << conversion.how;
        ++other;
      }
    }
    EXPECT_EQ(forward, 2 * kLayers) << c.mesh;
    EXPECT_EQ(backward, 2 * kLayers + 1) << c.mesh;  // and what the head sends back
    EXPECT_LE(other, 2) << c.mesh;                   // once each way
    EXPECT_TRUE(program->layouts.axes_optimal) << c.mesh;
    std::printf("%s: %d all-reduces of %lld bytes forward, %d backward, %d at the embedding; %s\n",
                c.mesh, forward, static_cast<long long>(bytes), backward, other,
                program->layouts.optimal ? "optimal" : "optimal on each axis");
  }
}

TEST_F(DecoderLayouts, StatesAreSplitWhereMemoryIsShort) {
  Job job = MakeJob("data:4", "plan { shard_states: WHEN_SHORT }");
  job.mutable_train()->set_dtype(Job::Train::BF16);
  const absl::StatusOr<Program> whole = CompileWithoutAnnotations(job, CompileOptionsOf(job));
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(LayoutOf(*whole, "head.m"), "[data:B]");
  const absl::StatusOr<Plan> plan = InstantiatePlan(*whole, 0);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const int64_t needed = plan->arena_bytes() + VariableBytes(*plan);

  CompileOptions options = CompileOptionsOf(job);
  options.memory_bytes = needed;
  const absl::StatusOr<Program> enough = CompileWithoutAnnotations(job, options);
  ASSERT_TRUE(enough.ok()) << enough.status();
  EXPECT_EQ(LayoutOf(*enough, "head.m"), "[data:B]");

  // Of states and parameters three quarters go; parameters come back, gathered for their use.
  options.memory_bytes = needed - VariableBytes(*plan) / 4;
  const absl::StatusOr<Program> split = CompileWithoutAnnotations(job, options);
  ASSERT_TRUE(split.ok()) << split.status();
  const absl::StatusOr<Plan> smaller = InstantiatePlan(*split, 0);
  ASSERT_TRUE(smaller.ok()) << smaller.status();
  EXPECT_EQ(LayoutOf(*split, "head"), "[data:S(0)]");
  EXPECT_EQ(LayoutOf(*split, "head.m"), "[data:S(0)]");
  EXPECT_EQ(LayoutOf(*split, "head.v"), "[data:S(0)]");
  EXPECT_EQ(LayoutOf(*split, "layers.0.mlp.up.m"), "[data:S(0)]");
  // The gradient comes by reduce-scatter, the parameter is all-gathered for its use: as many bytes
  // as an all-reduce.
  int64_t scattered = 0, gathered = 0, reduced = 0;
  for (const Conversion& c : split->conversions) {
    if (c.value == "cast_head") gathered += c.bytes;
    if (c.from == "[data:P(sum)]" && c.to == "[data:S(0)]") scattered += c.bytes;
    if (c.how == "all-reduce over data") reduced += c.bytes;
  }
  EXPECT_EQ(gathered, 3 * kVocab * kHidden * 2);
  EXPECT_GE(scattered, gathered);
  EXPECT_LT(reduced, scattered / 4);  // norms and scalars
  std::printf("data:4: %lld bytes whole, %lld with split states\n", static_cast<long long>(needed),
              static_cast<long long>(smaller->arena_bytes() + VariableBytes(*smaller)));

  options.shard_states = CompileOptions::ShardStates::kNever;
  const absl::StatusOr<Program> never = CompileWithoutAnnotations(job, options);
  ASSERT_TRUE(never.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(InstantiatePlan(*never, 0).status()));
}

// With split states: parameters are gathered in the order of their use, gradients leave in that in
// which they are made, and while the backward pass goes on.
TEST_F(DecoderLayouts, MessagesTravelInTheOrderOfTheWork) {
  const Job job = MakeJob("data:2");
  const absl::StatusOr<Program> program = CompileWithoutAnnotations(job, CompileOptionsOf(job));
  ASSERT_TRUE(program.ok()) << program.status();
  const StageProgram& stage = program->stages[0];
  std::vector<ScheduledFiring> work, gathers, reductions;
  std::vector<int> gathered, reduced;  // layers
  for (const ScheduledFiring& firing : stage.schedule.firings) {
    const LoweredActor& actor = stage.lowered.actors[firing.actor];
    if (actor.stream == StreamId::kCompute) {
      work.push_back(firing);
    } else if (absl::StartsWith(actor.name, "grad.layers.")) {
      if (!absl::StrContains(actor.name, "einsum")) continue;
      reductions.push_back(firing);
      reduced.push_back(std::atoi(actor.name.c_str() + 12));
    } else if (absl::StartsWith(actor.name, "layers.")) {
      gathers.push_back(firing);
      gathered.push_back(std::atoi(actor.name.c_str() + 7));
    }
  }
  ASSERT_EQ(gathered.size(), 7u * kLayers);
  ASSERT_EQ(reduced.size(), 7u * kLayers);
  // A bucket may hold parameters of two layers.
  for (size_t k = 1; k < gathered.size(); ++k) EXPECT_GE(gathered[k] + 1, gathered[k - 1]) << k;
  EXPECT_TRUE(std::is_sorted(reduced.rbegin(), reduced.rend()));
  const auto under_work = [&](const ScheduledFiring& message) {
    return std::any_of(work.begin(), work.end(), [&](const ScheduledFiring& w) {
      return w.begin <= message.begin && message.end <= w.end;
    });
  };
  EXPECT_GE(std::count_if(gathers.begin(), gathers.end(), under_work), 6 * kLayers);
  EXPECT_GE(std::count_if(reductions.begin(), reductions.end(), under_work), 6 * kLayers);
}

// What another rank's sum is awaited for is made before the gradients of weights, which then run
// while it travels.
TEST_F(DecoderLayouts, WeightGradientsRunWhileSumsTravel) {
  const Job job = MakeJob("model:2");
  const absl::StatusOr<Program> program = CompileWithoutAnnotations(job, CompileOptionsOf(job));
  ASSERT_TRUE(program.ok()) << program.status();
  const LoweredProgram& lowered = program->stages[0].lowered;
  int sums = 0;
  for (const LoweredActor& actor : lowered.actors) {
    for (size_t c = 0; c < actor.outputs.size(); ++c) {
      const LoweredBuffer& sum = lowered.buffers[lowered.channels[actor.outputs[c]].buffer];
      if (!absl::StartsWith(sum.name, "grad.layers.")) continue;
      if (program->graph.info(sum.value).layout[0] != Sbp::P(Monoid::kSum)) continue;
      ++sums;
      // Behind it the products of the weights that made it, at least; but for the first layer's
      // attention, whose sum hardly anything waits for.
      if (absl::StartsWith(sum.name, "grad.layers.0.attention")) continue;
      EXPECT_GE(static_cast<int>(actor.calls.size()) - actor.full_after[c], 3) << sum.name;
    }
  }
  EXPECT_EQ(sums, 2 * kLayers);  // of the MLP and of attention
}

TEST_F(DecoderLayouts, ForbiddenAndBudgetedConversionsAreListed) {
  // Partial sums may be completed, and parameters gathered that split states ask for. Of a large
  // vocabulary the embedding's gradient is computed from gathered rows, which nobody asked for.
  Job job = MakeJob("data:2", "plan { forbid_conversions: true }");
  job.mutable_model()->mutable_decoder()->set_vocab(128);
  EXPECT_TRUE(CompileWithoutAnnotations(job, CompileOptionsOf(job)).ok());
  job = MakeJob("data:2", "plan { forbid_conversions: true shard_states: NEVER }");
  absl::Status status = CompileWithoutAnnotations(job, CompileOptionsOf(job)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("plan.forbid_conversions"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("for grad.embedding_grad: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr(" a step"));

  job = MakeJob("model:2", "plan { conversion_bytes: 1000000 }");
  status = CompileWithoutAnnotations(job, CompileOptionsOf(job)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("plan.conversion_bytes"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("by all-reduce over model"));
  job = MakeJob("model:2", "plan { conversion_bytes: 1000000000 }");
  EXPECT_TRUE(CompileWithoutAnnotations(job, CompileOptionsOf(job)).ok());
}

TEST_F(DecoderLayouts, AutoPicksTheFastestMesh) {
  Job job = MakeJob("AUTO:4", "plan { shard_states: WHEN_SHORT }");
  const absl::StatusOr<MeshChoice> choice = ChooseMesh(ops_, {}, nullptr, &job);
  ASSERT_TRUE(choice.ok()) << choice.status();
  ASSERT_EQ(choice->alternatives.size(), 5u);  // 4, 2 x 2 and 1 x 4; two of them with split states
  EXPECT_EQ(job.mesh(), choice->alternatives[0].mesh);
  for (const MeshAlternative& row : choice->alternatives) {
    EXPECT_GE(row.step_seconds, choice->alternatives[0].step_seconds);
    EXPECT_EQ(row.refusal, "");
  }
  EXPECT_THAT(MeshChoiceText(*choice), HasSubstr("mesh AUTO:4: {" + job.mesh() + "}"));
  std::printf("%s", MeshChoiceText(*choice).c_str());

  job = MakeJob("data:2");
  EXPECT_TRUE(ChooseMesh(ops_, {}, nullptr, &job)->alternatives.empty());
  EXPECT_EQ(job.mesh(), "data:2");

  // Where every message takes a second, the mesh on which each rank may do everything itself: rows
  // are split over data, so that its gradients must be summed.
  const absl::StatusOr<Cluster> slow = ParseCluster(
      "flops: 1e12 memory_bandwidth: 1e11 network { latency: 1 bandwidth: 1e10 }", "slow");
  ASSERT_TRUE(slow.ok()) << slow.status();
  job = MakeJob("AUTO:4", "plan { shard_states: WHEN_SHORT }");
  const absl::StatusOr<MeshChoice> there = ChooseMesh(ops_, {}, &*slow, &job);
  ASSERT_TRUE(there.ok()) << there.status();
  EXPECT_EQ(job.mesh(), "model:4");
  EXPECT_LT(there->alternatives[0].step_seconds, 1);
  EXPECT_GT(there->alternatives[1].step_seconds, 1);

  // More ranks than rows: only meshes with some model are possible, and the rest says why.
  job = MakeJob("AUTO:16");
  const absl::StatusOr<MeshChoice> few = ChooseMesh(ops_, {}, nullptr, &job);
  ASSERT_TRUE(few.ok()) << few.status();
  EXPECT_THAT(few->alternatives.back().refusal, HasSubstr("rows over data:16"));

  // Nothing fits.
  job = MakeJob("AUTO:2");
  job.mutable_train()->set_memory_bytes(1000);
  const absl::Status none = ChooseMesh(ops_, {}, nullptr, &job).status();
  EXPECT_TRUE(absl::IsResourceExhausted(none)) << none;
  EXPECT_THAT(std::string(none.message()), HasSubstr("no mesh of so many ranks is possible"));
  for (const char* bad : {"AUTO", "AUTO:", "AUTO:0", "AUTO:x", "AUTO:-8"}) {
    const absl::StatusOr<Job> refused =
        ParseJob(PrintJob(MakeJob("data:2")), "test", {.sets = {}, .mesh = bad});
    EXPECT_TRUE(absl::IsInvalidArgument(refused.status())) << bad;
  }
}

// Every factorisation of the ranks is tried, and the one that is taken is the one whose step the
// compiler predicts to be the shortest.
TEST_F(DecoderLayouts, AutoFactorsEightRanks) {
  Job job = MakeJob("AUTO:8", "plan { shard_states: WHEN_SHORT }");
  const absl::StatusOr<MeshChoice> choice = ChooseMesh(ops_, {}, nullptr, &job);
  ASSERT_TRUE(choice.ok()) << choice.status();
  std::set<std::string> meshes;
  double shortest = std::numeric_limits<double>::infinity();
  for (const MeshAlternative& row : choice->alternatives) {
    meshes.insert(row.mesh);
    const Job alone = MakeJob(
        row.mesh,
        absl::StrCat("plan { shard_states: ", row.shards_states ? "ALWAYS" : "NEVER", " }"));
    absl::StatusOr<Graph> graph = TrainGraph(alone, ops_);
    ASSERT_TRUE(graph.ok()) << graph.status();
    const absl::StatusOr<Program> program =
        Compile(*std::move(graph), ops_, CompileOptionsOf(alone));
    ASSERT_TRUE(program.ok()) << program.status();
    const double seconds = static_cast<double>(program->stages[0].schedule.ticks) / kTicksPerSecond;
    EXPECT_DOUBLE_EQ(seconds, row.step_seconds) << row.mesh;
    shortest = std::min(shortest, seconds);
  }
  EXPECT_EQ(meshes,
            (std::set<std::string>{"data:8", "data:4,model:2", "data:2,model:4", "model:8"}));
  EXPECT_EQ(job.mesh(), choice->alternatives[0].mesh);
  EXPECT_EQ(choice->alternatives[0].step_seconds, shortest);
  std::printf("%s", MeshChoiceText(*choice).c_str());
}

// A large vocabulary: the head and its loss are worked out where their rows of the vocabulary are.
// Of the logits nothing travels but a number for every token, and no rank holds the whole head.
TEST_F(DecoderLayouts, LargeVocabularySplitsTheHead) {
  constexpr int kLargeVocab = 65536;
  for (const char* mesh : {"model:4", "data:2,model:4"}) {
    Job job = MakeJob(mesh);
    job.mutable_model()->mutable_decoder()->set_vocab(kLargeVocab);
    const absl::StatusOr<Program> program = CompileWithoutAnnotations(job, CompileOptionsOf(job));
    ASSERT_TRUE(program.ok()) << program.status();
    const bool data = std::string(mesh) != "model:4";
    EXPECT_EQ(LayoutOf(*program, "head"), data ? "[data:S(1), model:S(0)]" : "[model:S(0)]");
    int statistics = 0;
    for (const Conversion& c : program->conversions) {
      if (!c.microbatch || absl::StrContains(c.value, ":dw")) continue;  // of weights
      EXPECT_LT(c.bytes, kRows * kSequence * kLargeVocab / 4) << c.value << " for " << c.consumer;
      if (!absl::StrContains(c.from, "P(logaddexp)")) continue;
      ++statistics;
      EXPECT_EQ(c.how, "all-reduce over model");
      // As a small one may be, sent by every rank to every other of its group.
      EXPECT_LE(c.bytes, 4 * 3 * kRows * kSequence * 4) << mesh;
    }
    EXPECT_EQ(statistics, 1) << mesh;
  }
}

}  // namespace
}  // namespace weft
