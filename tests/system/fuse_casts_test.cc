// Steps of a decoder in mixed precision do not change by a bit where optimizers read gradients in
// bf16 instead of their casts, whatever the optimizer, with and without clipping, on any mesh.
#include "parallel/fuse_casts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/decoder.h"
#include "graph/optimizer.h"
#include "kernels/all_ops.h"
#include "tests/system/mesh_run.h"

namespace weft::testing {
namespace {

using Kind = OptimizerConfig::Kind;

constexpr int64_t kRows = 4, kSequence = 6, kVocabulary = 11;

class FuseCastsSystemTest : public ::testing::TestWithParam<const char*> {
 protected:
  FuseCastsSystemTest() {
    DefineAllOps(ops_);
    FillCpuKernels(ops_, kernels_);
  }

  // A gradient that is a cast is an output too if `keeps_casts`: outputs are as the user has them.
  Graph Training(const OptimizerConfig& optimizer, bool keeps_casts) {
    GraphBuilder g(ops_, *Mesh::Parse(GetParam()));
    const DecoderConfig config = {.layers = 1,
                                  .hidden = 8,
                                  .heads = 4,
                                  .kv_heads = 2,
                                  .ffn = 12,
                                  .vocab = kVocabulary,
                                  .init_stddev = 0.3};
    const Value loss = BuildDecoderLoss(g, config, kRows, kSequence, DType::kBF16);
    EXPECT_TRUE(AddOptimizer(g, loss, optimizer).ok()) << g.status();
    Graph graph = *g.Build();
    if (!keeps_casts) return graph;
    for (const Node& node : graph.nodes) {
      if (!node.op->sums_microbatches) continue;
      const int maker = graph.info(node.inputs[0]).node;
      if (maker < 0 || !graph.nodes[maker].op->converts) continue;
      graph.outputs.push_back({absl::StrCat("kept.", node.name), node.outputs[0]});
    }
    return graph;
  }

  MeshRun Run(Graph graph) {
    MeshRunOptions options;
    options.steps = 2;
    options.input = [](std::string_view name, int64_t step, int64_t) {
      if (name == "learning_rate") return Whole({{}, DType::kF32}, {0.05});
      if (name == "step") return Whole({{}, DType::kF32}, {static_cast<double>(step + 1)});
      if (name == "loss_scale") return Whole({{}, DType::kF32}, {1.0 / (kRows * kSequence)});
      HostTensor tokens = Sixteenths({{kRows, kSequence}, DType::kI32}, 1);
      for (size_t i = 0; i < tokens.values.size(); ++i) {
        const size_t place = i * i + static_cast<size_t>(step) + (name == "tokens" ? 3 : 5);
        tokens.values[i] = static_cast<double>(place % kVocabulary);
      }
      return tokens;
    };
    auto run = RunOnMesh(std::move(graph), ops_, kernels_, options);
    EXPECT_TRUE(run.ok()) << run.status();
    return run.ok() ? *std::move(run) : MeshRun{};
  }

  static int64_t Casts(const Graph& graph) {
    return std::count_if(graph.nodes.begin(), graph.nodes.end(),
                         [&](const Node& node) { return !node.is_reshard() && node.op->converts; });
  }

  // Sums over microbatches that are kernels of their own.
  static int64_t SumCalls(const Program& program) {
    int64_t calls = 0;
    for (const StageProgram& stage : program.stages) {
      for (const LoweredActor& actor : stage.lowered.actors) {
        calls += std::count_if(actor.calls.begin(), actor.calls.end(),
                               [](const LoweredCall& call) { return call.kernel == "accumulate"; });
      }
    }
    return calls;
  }

  OpRegistry ops_;
  KernelTable kernels_;
};

TEST_P(FuseCastsSystemTest, NarrowGradientsChangeNoBit) {
  for (const Kind kind : {Kind::kSgd, Kind::kAdamW, Kind::kLamb}) {
    for (const double clip : {0.0, 0.1}) {
      SCOPED_TRACE(absl::StrCat("optimizer ", static_cast<int>(kind), " clip ", clip));
      const OptimizerConfig config = {.kind = kind, .weight_decay = 0.1, .clip_norm = clip};
      const MeshRun narrow = Run(Training(config, false)), wide = Run(Training(config, true));
      EXPECT_LT(Casts(narrow.program.graph), Casts(wide.program.graph));
      EXPECT_EQ(SumCalls(narrow.program), 0);  // there is one microbatch
      ASSERT_FALSE(narrow.variables.empty());
      for (const auto& [name, want] : wide.variables) {
        ASSERT_EQ(narrow.variables.at(name).values, want.values) << name;
      }
      for (const char* name : {"loss", "grad_norm"}) {
        const std::vector<HostTensor>&got = narrow.outputs.at(name), &want = wide.outputs.at(name);
        ASSERT_EQ(got.size(), 2u);
        for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(got[i].values, want[i].values) << name;
        EXPECT_GT(want[0].values[0], 0) << name;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Meshes, FuseCastsSystemTest,
                         ::testing::Values("", "data:2", "data:3", "model:2", "data:2,model:2"));

}  // namespace
}  // namespace weft::testing
