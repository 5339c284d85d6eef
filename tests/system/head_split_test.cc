// Tensor parallelism of attention as layout inference chooses it for examples/jobs/tiny.pbtxt, with
// 4 query heads and 2 key heads: whole heads lie on the ranks of the axis "model", unevenly too,
// and a layer needs one all-reduce for attention and one for the MLP in each direction.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "parallel/compile.h"

namespace weft {
namespace {

class HeadSplit : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    DefineAllOps(ops_);
    const absl::StatusOr<Job> job = LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt",
                                            {.mesh = absl::StrCat("model:", GetParam())});
    ASSERT_TRUE(job.ok()) << job.status();
    absl::StatusOr<Graph> graph = TrainGraph(*job, ops_);
    ASSERT_TRUE(graph.ok()) << graph.status();
    absl::StatusOr<Program> program = Compile(*std::move(graph), ops_, {});
    ASSERT_TRUE(program.ok()) << program.status();
    program_ = *std::move(program);
  }

  std::string LayoutOf(Value v) const {
    return ToString(program_.graph.info(v).layout, program_.graph.mesh(v));
  }
  // Layouts of a node's operands as it takes them, then those of its results.
  std::vector<std::string> LayoutsOf(const Node& node) const {
    std::vector<std::string> layouts;
    const Mesh& mesh = program_.graph.mesh(node.outputs[0]);
    for (const Layout& layout : node.input_layouts) layouts.push_back(ToString(layout, mesh));
    for (Value v : node.outputs) layouts.push_back(LayoutOf(v));
    return layouts;
  }
  // Nodes of the op in the graph, of which there is one per layer.
  std::vector<const Node*> NodesOf(std::string_view op) const {
    std::vector<const Node*> nodes;
    for (const Node& node : program_.graph.nodes) {
      if (node.op != nullptr && node.op->name == op) nodes.push_back(&node);
    }
    return nodes;
  }

  OpRegistry ops_;
  Program program_;
};

// Where the axis divides the key heads. Elsewhere modelled time decides how the small projections
// of keys and values come about, and so it does for what moves.
class EvenHeadSplit : public HeadSplit {};

TEST_P(HeadSplit, AttentionIsSplitByHeads) {
  const std::string heads = "[model:S(2)]";
  const bool whole_groups = GetParam() == 2;  // 2 key heads
  const std::string kv = whole_groups ? heads : "[model:B]";
  const std::string dkv = whole_groups ? heads : "[model:P(sum)]";
  const std::vector<const Node*> forward = NodesOf("attention"),
                                 backward = NodesOf("attention_grad");
  ASSERT_EQ(forward.size(), 4u);
  ASSERT_EQ(backward.size(), 4u);
  for (const Node* node : forward) {
    EXPECT_EQ(LayoutsOf(*node), (std::vector<std::string>{heads, kv, kv, heads, heads}))
        << node->name;
  }
  for (const Node* node : backward) {
    EXPECT_EQ(LayoutsOf(*node),
              (std::vector<std::string>{heads, heads, kv, kv, heads, heads, heads, dkv, dkv}))
        << node->name;
  }
}

// The projections and the rotation take and give what attention wants.
TEST_P(EvenHeadSplit, ProjectionsAreSplitWithIt) {
  const std::string kv = "[model:S(2)]";
  std::vector<std::pair<std::string, std::string>> want;
  for (int layer = 0; layer < 4; ++layer) {
    const std::string scope = absl::StrCat("layers.", layer, ".attention.");
    want.emplace_back(scope + "q", "[model:S(1)]");
    want.emplace_back(scope + "o", "[model:S(0)]");
    want.emplace_back(scope + "queries", "[model:S(2)]");
    want.emplace_back(scope + "rope_q", "[model:S(2)]");
    want.emplace_back(scope + "keys", kv);
    want.emplace_back(scope + "rope_k", kv);
    want.emplace_back(scope + "values", kv);
    want.emplace_back(scope + "output", "[model:P(sum)]");
  }
  for (const auto& [name, layout] : want) {
    bool found = false;
    for (int v = 0; v < static_cast<int>(program_.graph.values.size()); ++v) {
      if (program_.graph.values[v].name != name) continue;
      found = true;
      EXPECT_EQ(LayoutOf({v}), layout) << name;
    }
    EXPECT_TRUE(found) << name;
  }
}

// Activations, [16,128,128] each, are reduced twice per layer forward and twice backward; nothing
// of a layer is gathered or exchanged.
TEST_P(EvenHeadSplit, OneAllReducePerBlockAndDirection) {
  const TensorSpec activation{{16, 128, 128}, DType::kF32};
  int reductions = 0;
  for (const Conversion& conversion : program_.conversions) {
    if (conversion.bytes == 0 || !absl::StartsWith(conversion.value, "layers.")) continue;
    EXPECT_EQ(conversion.how, "all-reduce over model")
        << conversion.value << " for " << conversion.consumer;
  }
  for (const Node& node : program_.graph.nodes) {
    if (!node.is_reshard() || program_.graph.spec(node.inputs[0]) != activation) continue;
    if (LayoutOf(node.inputs[0]) != "[model:P(sum)]") continue;
    EXPECT_EQ(LayoutOf(node.outputs[0]), "[model:B]") << node.name;
    ++reductions;
  }
  // And the gradient that the head sends back; but that of the embedding stays partial, since its
  // rows of the vocabulary are fewer than the tokens.
  EXPECT_EQ(reductions, 4 * 4);
}

INSTANTIATE_TEST_SUITE_P(Ranks, HeadSplit, ::testing::Values(2, 3, 4));
INSTANTIATE_TEST_SUITE_P(Ranks, EvenHeadSplit, ::testing::Values(2));

}  // namespace
}  // namespace weft
