// Which ops become one with their gradients, and which stay two.
#include "parallel/merge_gradients.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "graph/graph_builder.h"
#include "gtest/gtest.h"
#include "parallel/infer_layouts.h"
#include "parallel/insert_reshards.h"
#include "tests/parallel/toy_ops.h"

namespace weft {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// score(x) -> s of every row, by logaddexp over parts of it; score_grad(x, s, ds) -> dx; and both
// in one, for whole rows.
void AddScores(OpRegistry& ops) {
  const OpDef like = *ops.Find("relu");
  OpDef score = like;
  score.name = "score";
  score.outputs = {"s"};
  score.infer = [](const InferContext& c) -> absl::StatusOr<std::vector<TensorSpec>> {
    return std::vector<TensorSpec>{{{c.in(0).shape[0]}, c.in(0).dtype}};
  };
  score.layout = [](const LayoutContext&) {
    FactorMap map;
    const int row = map.Add({.name = "row"});
    const int column = map.Add({.name = "column", .reduce = {Monoid::kLogAddExp}});
    map.inputs = {{row, column}};
    map.outputs = {{row}};
    return map;
  };
  OpDef gradient = like;
  gradient.name = "score_grad";
  gradient.inputs = {"x", "s", "ds"};
  gradient.outputs = {"dx"};
  gradient.layout = [](const LayoutContext&) {
    FactorMap map;
    const int row = map.Add({.name = "row"}), column = map.Add({.name = "column"});
    map.inputs = {{row, column}, {row}, {row}};
    map.outputs = {{row, column}};
    map.linear = {{Monoid::kSum, {2}}};
    return map;
  };
  OpDef merged = like;
  merged.name = "score_with_grad";
  merged.inputs = {"x", "ds"};
  merged.outputs = {"s", "dx"};
  merged.infer = [](const InferContext& c) -> absl::StatusOr<std::vector<TensorSpec>> {
    return std::vector<TensorSpec>{c.in(1), c.in(0)};
  };
  merged.layout = [](const LayoutContext&) {
    FactorMap map;
    const int row = map.Add({.name = "row"});
    map.inputs = {{row, kWhole}, {row}};
    map.outputs = {{row}, {row, kWhole}};
    return map;
  };
  merged.merges = {"score", "score_grad"};
  for (const OpDef& op : {score, gradient, merged}) ops.Add(op);
}

class MergeGradientsTest : public testing::Test {
 protected:
  MergeGradientsTest() { AddScores(ops_); }

  // The nodes after the pass, as "results = op operands".
  std::vector<std::string> Merge(GraphBuilder& g) {
    absl::StatusOr<Graph> graph = g.Build();
    EXPECT_TRUE(graph.ok()) << graph.status();
    const PassContext context{ops_, cost_, /*microbatches=*/2};
    for (auto* pass : {InferLayouts, InsertReshards, MergeGradients}) {
      const absl::Status status = pass(*graph, context);
      EXPECT_TRUE(status.ok()) << status;
    }
    const absl::Status legal = Verify(*graph);
    EXPECT_TRUE(legal.ok()) << legal;
    std::vector<std::string> lines;
    const auto names = [&](const std::vector<Value>& values) {
      return absl::StrJoin(values, " ", [&](std::string* out, Value v) {
        absl::StrAppend(out, graph->info(v).name);
      });
    };
    for (const Node& node : graph->nodes) {
      EXPECT_EQ(node.input_layouts.size(), node.inputs.size()) << node.name;
      for (size_t i = 0; i < node.outputs.size(); ++i) {
        EXPECT_EQ(graph->info(node.outputs[i]).output, static_cast<int>(i)) << node.name;
      }
      lines.push_back(absl::StrCat(names(node.outputs), " = ",
                                   node.is_reshard() ? "convert" : node.op->name, " ",
                                   names(node.inputs)));
    }
    return lines;
  }

  static Value X(GraphBuilder& g, const char* name = "x", const char* layout = "[]") {
    Value x = g.Input(name, {{64, 32}, DType::kF32});
    g.Annotate(x, layout);
    return x;
  }
  static Value Ds(GraphBuilder& g, const char* layout = "[]") {
    Value ds = g.Input("arriving", {{64}, DType::kF32});
    g.Annotate(ds, layout);
    return ds;
  }

  OpRegistry ops_ = ToyOps();
  CostModel cost_;
};

// What the gradient takes besides comes before; readers of the score behind.
TEST_F(MergeGradientsTest, TheTwoBecomeOneBehindWhatItTakes) {
  GraphBuilder g(ops_);
  Value x = X(g), arriving = Ds(g);
  Value s = g.Op("score", {x}, {}, "s");
  g.Output("t", g.Op("relu", {s}, {}, "t"));
  Value ds = g.Op("relu", {g.Op("relu", {arriving}, {}, "early")}, {}, "ds");
  g.Output("dx", g.Op("relu", {g.Op("score_grad", {x, s, ds}, {}, "dx")}, {}, "last"));
  EXPECT_THAT(Merge(g), ElementsAre("early = relu arriving", "ds = relu early",
                                    "s dx = score_with_grad x ds", "t = relu s", "last = relu dx"));
}

TEST_F(MergeGradientsTest, EachPairByItself) {
  GraphBuilder g(ops_);
  Value x = X(g), z = X(g, "z"), ds = Ds(g);
  Value s = g.Op("score", {x}, {}, "s"), t = g.Op("score", {z}, {}, "t");
  g.Output("dz", g.Op("score_grad", {z, t, ds}, {}, "dz"));
  g.Output("dx", g.Op("score_grad", {x, s, ds}, {}, "dx"));
  EXPECT_THAT(Merge(g), ElementsAre("s dx = score_with_grad x arriving",
                                    "t dz = score_with_grad z arriving"));
}

TEST_F(MergeGradientsTest, OneGradientOfTwo) {
  GraphBuilder g(ops_);
  Value x = X(g), ds = Ds(g), s = g.Op("score", {x}, {}, "s");
  g.Output("a", g.Op("score_grad", {x, s, ds}, {}, "a"));
  g.Output("b", g.Op("score_grad", {x, s, g.Op("relu", {ds}, {}, "other")}, {}, "b"));
  EXPECT_THAT(Merge(g), ElementsAre("s a = score_with_grad x arriving", "other = relu arriving",
                                    "b = score_grad x s other"));
}

TEST_F(MergeGradientsTest, AScoreWithoutGradientStays) {
  GraphBuilder g(ops_);
  g.Output("s", g.Op("score", {X(g)}, {}, "s"));
  EXPECT_THAT(Merge(g), ElementsAre("s = score x"));
}

TEST_F(MergeGradientsTest, NotWhereTheGradientDependsOnTheScore) {
  GraphBuilder g(ops_);
  Value x = X(g), s = g.Op("score", {x}, {}, "s");
  g.Output("dx", g.Op("score_grad", {x, s, g.Op("relu", {s}, {}, "ds")}, {}, "dx"));
  EXPECT_THAT(Merge(g), ElementsAre("s = score x", "ds = relu s", "dx = score_grad x s ds"));
}

TEST_F(MergeGradientsTest, NotOfAnotherOperand) {
  GraphBuilder g(ops_);
  Value x = X(g), z = X(g, "z"), s = g.Op("score", {x}, {}, "s");
  g.Output("dx", g.Op("score_grad", {z, s, Ds(g)}, {}, "dx"));
  EXPECT_THAT(Merge(g), ElementsAre("s = score x", "dx = score_grad z s arriving"));
}

// A score where the gradient takes something else does not count as the gradient's own.
TEST_F(MergeGradientsTest, NotWhereTheScoreArrivesFromTheLoss) {
  GraphBuilder g(ops_);
  Value x = X(g), s = g.Op("score", {x}, {}, "s");
  g.Output("dx", g.Op("score_grad", {x, Ds(g), s}, {}, "dx"));
  EXPECT_THAT(Merge(g), ElementsAre("s = score x", "dx = score_grad x arriving s"));
}

// Made once a step; its gradient once a microbatch.
TEST_F(MergeGradientsTest, NotWhatRunsMoreOftenThen) {
  GraphBuilder g(ops_);
  Value w = g.Parameter("w", {{64, 32}, DType::kF32}, Constant(0));
  Value s = g.Op("score", {w}, {}, "s");
  g.Output("dx", g.Op("score_grad", {w, s, Ds(g)}, {}, "dx"));
  EXPECT_THAT(Merge(g), ElementsAre("s = score w", "dx = score_grad w s arriving"));
}

// The variable's old content is read behind the score; its new one must come after that.
TEST_F(MergeGradientsTest, NotWhereAnUpdateWouldComeFirst) {
  GraphBuilder g(ops_);
  Value x = g.Input("x", {{64, 32}, DType::kF32}, Rate::kStep);
  Value v = g.Parameter("v", {{64}, DType::kF32}, Constant(0));
  Value s = g.Op("score", {x}, {}, "s");
  g.Output("old", g.Op("add", {s, v}, {}, "old"));
  Value next = g.Op("relu", {v}, {}, "next");
  g.Update(v, next);
  g.Output("dx", g.Op("score_grad", {x, s, next}, {}, "dx"));
  EXPECT_THAT(Merge(g), ElementsAre("s = score x", "old = add s v", "next = relu v",
                                    "dx = score_grad x s next"));
}

TEST_F(MergeGradientsTest, RowsMayBeSplit) {
  GraphBuilder g(ops_, *Mesh::Parse("m:4,one:1"));
  Value x = X(g, "x", "[m:S(0), one:S(1)]"), ds = Ds(g, "[m:S(0), one:B]");
  Value s = g.Op("score", {x}, {}, "s");
  g.Output("dx", g.Op("relu", {g.Op("score_grad", {x, s, ds}, {}, "dx")}, {}, "y"));
  EXPECT_THAT(Merge(g), Contains("s dx = score_with_grad x arriving"));
}

// The gradient is linear in what arrives; the merged op, whose score is not, cannot take parts.
TEST_F(MergeGradientsTest, NotWhereItsLayoutsAreNotLegal) {
  GraphBuilder g(ops_, *Mesh::Parse("m:4"));
  Value x = X(g, "x", "[m:B]"), s = g.Op("score", {x}, {}, "s");
  g.Annotate(s, "[m:B]");
  Value dx = g.Op("score_grad", {x, s, Ds(g, "[m:P(sum)]")}, {}, "dx");
  g.Annotate(dx, "[m:P(sum)]");
  g.Output("dx", dx);
  EXPECT_THAT(Merge(g), Contains("dx = score_grad x s arriving"));
}

// The merged op needs whole rows: parts of a score are completed in between.
TEST_F(MergeGradientsTest, NotWhereRowsAreInParts) {
  GraphBuilder g(ops_, *Mesh::Parse("m:4"));
  Value x = X(g, "x", "[m:S(1)]"), s = g.Op("score", {x}, {}, "s");
  g.Annotate(s, "[m:P(logaddexp)]");
  Value dx = g.Op("score_grad", {x, s, Ds(g, "[m:B]")}, {}, "dx");
  g.Annotate(dx, "[m:S(1)]");
  g.Output("dx", g.Op("relu", {dx}, {}, "y"));
  EXPECT_THAT(Merge(g), Not(Contains(HasSubstr("score_with_grad"))));
}

}  // namespace
}  // namespace weft
