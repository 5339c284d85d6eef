// Conversion nodes: shared, in order, each one step, and only where layouts differ.
#include "parallel/insert_reshards.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "graph/graph_builder.h"
#include "gtest/gtest.h"
#include "parallel/infer_layouts.h"
#include "parallel/reshard_step.h"
#include "tests/parallel/toy_ops.h"

namespace weft {
namespace {

class InsertReshardsTest : public testing::Test {
 protected:
  Graph Run(GraphBuilder& g) {
    absl::StatusOr<Graph> graph = g.Build();
    EXPECT_TRUE(graph.ok()) << graph.status();
    const PassContext context{ops_, cost_, 1, &conversions_};
    const absl::Status inferred = InferLayouts(*graph, context);
    EXPECT_TRUE(inferred.ok()) << inferred;
    const absl::Status inserted = InsertReshards(*graph, context);
    EXPECT_TRUE(inserted.ok()) << inserted;
    Check(*graph);
    return *std::move(graph);
  }

  // What lowering relies on.
  static void Check(const Graph& graph) {
    const absl::Status legal = Verify(graph);
    EXPECT_TRUE(legal.ok()) << legal;
    for (const Node& node : graph.nodes) {
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (!node.inputs[i]) continue;
        EXPECT_TRUE(SameHolding(graph.info(node.inputs[i]).layout, node.input_layouts[i],
                                graph.mesh(node.outputs[0])) ||
                    node.is_reshard())
            << node.name;
      }
      if (!node.is_reshard()) continue;
      const absl::StatusOr<ReshardStep> step = MakeReshardStep(
          graph.spec(node.inputs[0]), graph.info(node.inputs[0]).layout, graph.mesh(node.inputs[0]),
          graph.info(node.outputs[0]).layout, graph.mesh(node.outputs[0]));
      EXPECT_TRUE(step.ok()) << node.name << ": " << step.status();
      EXPECT_FALSE(node.reason.empty());
    }
    for (const Variable& variable : graph.variables) {
      if (!variable.update) continue;
      EXPECT_EQ(graph.info(variable.update).layout, graph.info(variable.value).layout);
    }
    for (const GraphOutput& output : graph.outputs) {
      const ValueInfo& info = graph.info(output.value);
      EXPECT_TRUE(info.annotation || info.layout == BroadcastLayout(graph.meshes[info.mesh]));
    }
  }

  static int CountReshards(const Graph& graph) {
    return static_cast<int>(std::count_if(graph.nodes.begin(), graph.nodes.end(),
                                          [](const Node& node) { return node.is_reshard(); }));
  }

  OpRegistry ops_ = ToyOps();
  CostModel cost_;
  std::vector<Conversion> conversions_;
};

TEST_F(InsertReshardsTest, ConsumersOfOneLayoutShareAConversion) {
  GraphBuilder g(ops_, *Mesh::Parse("x:4"));
  Value x = g.Input("x", {{512, 256}, DType::kF32});
  Value w = g.Parameter("w", {{256, 128}, DType::kF32}, Constant(0));
  g.Annotate(x, "[x:S(1)]");
  g.Annotate(w, "[x:S(0)]");
  Value y = g.Op("contract", {x, w}, {{"equation", "bi,io->bo"}}, "y");
  g.Output("a", g.Op("norm", {y}));
  g.Output("b", g.Op("relu", {y}));
  const Graph graph = Run(g);
  ASSERT_EQ(CountReshards(graph), 1);
  ASSERT_EQ(conversions_.size(), 1);
  EXPECT_EQ(conversions_[0].value, "y");
  EXPECT_EQ(conversions_[0].from, "[x:P(sum)]");
  EXPECT_EQ(conversions_[0].to, "[x:B]");
  EXPECT_EQ(conversions_[0].how, "all-reduce over x");
  EXPECT_TRUE(conversions_[0].microbatch);
  EXPECT_GT(conversions_[0].bytes, 0);
  EXPECT_GT(conversions_[0].seconds, 0);
}

TEST_F(InsertReshardsTest, MovingConversionsFollowTheirProducer) {
  GraphBuilder g(ops_, *Mesh::Parse("x:4"));
  Value x = g.Input("x", {{512, 256}, DType::kF32});
  Value w = g.Parameter("w", {{256, 128}, DType::kF32}, Constant(0));
  g.Annotate(x, "[x:S(1)]");
  g.Annotate(w, "[x:S(0)]");
  Value y = g.Op("contract", {x, w}, {{"equation", "bi,io->bo"}}, "y");
  Value z = g.Op("relu", {x}, {}, "z");
  g.Annotate(z, "[x:S(1)]");
  g.Output("a", g.Op("norm", {y}));
  g.Output("b", g.Op("total", {z}));
  const Graph graph = Run(g);
  EXPECT_EQ(graph.nodes[0].name, "y");
  EXPECT_TRUE(graph.nodes[1].is_reshard());
}

TEST_F(InsertReshardsTest, UpdateEndsInTheVariablesLayout) {
  GraphBuilder g(ops_, *Mesh::Parse("a:2,b:2"));
  Value grad = g.Input("grad", {{64, 64}, DType::kF32}, Rate::kStep);
  g.Annotate(grad, "[a:P(sum), b:S(1)]");
  Value w = g.Parameter("w", {{64, 64}, DType::kF32}, Constant(0));
  g.Annotate(w, "[a:S(0), b:B]");
  g.Update(w, g.Op("step", {w, grad}, {}, "next"));
  const Graph graph = Run(g);
  EXPECT_GE(CountReshards(graph), 1);
}

TEST_F(InsertReshardsTest, ConversionsOfSeveralStepsBecomeSeveralNodes) {
  GraphBuilder g(ops_, *Mesh::Parse("a:4,b:4"));
  Value x = g.Input("x", {{4096, 1024}, DType::kF32});
  g.Annotate(x, "[a:P(sum), b:P(sum)]");
  g.Output("y", g.Op("norm", {x}));
  const Graph graph = Run(g);
  EXPECT_GE(CountReshards(graph), 2);
  EXPECT_EQ(conversions_.size(), static_cast<size_t>(CountReshards(graph)));
}

TEST_F(InsertReshardsTest, AnnotatedResultIsConvertedFromWhatTheOpMakes) {
  GraphBuilder g(ops_, *Mesh::Parse("x:4"));
  Value x = g.Input("x", {{512, 256}, DType::kF32});
  g.Annotate(x, "[x:S(0)]");
  Value y = g.Op("norm", {x}, {}, "y");
  g.Annotate(y, "[x:S(1)]");
  g.Output("out", y);
  const Graph graph = Run(g);
  EXPECT_EQ(graph.info(graph.outputs[0].value).name, "y");
  EXPECT_EQ(graph.info(graph.outputs[0].value).layout, Layout({Sbp::S(1)}));
  EXPECT_EQ(CountReshards(graph), 1);
  ASSERT_EQ(conversions_.size(), 1);
  EXPECT_EQ(conversions_[0].consumer, "annotation");
}

TEST_F(InsertReshardsTest, LayoutsThatHoldTheSameNeedNothing) {
  GraphBuilder g(ops_, *Mesh::Parse("a:4,b:1"));
  Value x = g.Input("x", {{512, 256}, DType::kF32});
  g.Annotate(x, "[b:S(1)]");
  g.Output("y", g.Op("norm", {x}));
  EXPECT_EQ(CountReshards(Run(g)), 0);
}

TEST_F(InsertReshardsTest, ValuesCrossToTheMeshOfTheirConsumer) {
  GraphBuilder g(ops_, *Mesh::Parse("x:4"));
  Value x = g.Input("x", {{512, 256}, DType::kF32});
  g.Annotate(x, "[x:S(0)]");
  Value y = g.Op("norm", {x}, {}, "y");
  Value z = g.Op("norm", {y}, {}, "z");
  g.Output("out", z);
  absl::StatusOr<Graph> graph = g.Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  graph->meshes.push_back(*Mesh::Parse("x:2@4,5"));
  graph->info(z).mesh = 1;
  const PassContext context{ops_, cost_, 1, &conversions_};
  ASSERT_TRUE(InferLayouts(*graph, context).ok());
  ASSERT_TRUE(InsertReshards(*graph, context).ok());
  EXPECT_TRUE(Verify(*graph).ok()) << Verify(*graph);
  ASSERT_FALSE(conversions_.empty());
  EXPECT_EQ(conversions_[0].value, "y");
  for (const Node& node : graph->nodes) {
    if (!node.is_reshard()) {
      for (Value v : node.inputs) EXPECT_EQ(graph->info(v).mesh, graph->info(node.outputs[0]).mesh);
    }
  }
}

}  // namespace
}  // namespace weft
