// Which sums products take over, and which stay kernels of their own.
#include "parallel/fuse_sums.h"

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

using testing::ElementsAre;

class FuseSumsTest : public testing::Test {
 protected:
  // The nodes after the pass, as "result = op operands".
  std::vector<std::string> Fuse(GraphBuilder& g) {
    absl::StatusOr<Graph> graph = g.Build();
    EXPECT_TRUE(graph.ok()) << graph.status();
    const PassContext context{ops_, cost_, /*microbatches=*/2};
    for (auto* pass : {InferLayouts, InsertReshards, FuseSums}) {
      const absl::Status status = pass(*graph, context);
      EXPECT_TRUE(status.ok()) << status;
    }
    const absl::Status legal = Verify(*graph);
    EXPECT_TRUE(legal.ok()) << legal;
    std::vector<std::string> lines;
    for (const Node& node : graph->nodes) {
      EXPECT_EQ(node.input_layouts.size(), node.inputs.size()) << node.name;
      lines.push_back(absl::StrCat(graph->info(node.outputs[0]).name, " = ",
                                   node.is_reshard() ? "convert" : node.op->name, " ",
                                   absl::StrJoin(node.inputs, " ", [&](std::string* out, Value v) {
                                     absl::StrAppend(out, v ? graph->info(v).name : "-");
                                   })));
    }
    return lines;
  }

  // A matrix of every microbatch; of the step.
  static Value X(GraphBuilder& g, const char* name, const char* layout = "[]") {
    Value x = g.Input(name, {{64, 64}, DType::kF32});
    g.Annotate(x, layout);
    return x;
  }
  static Value W(GraphBuilder& g, const char* name, const char* layout = "[]") {
    Value w = g.Parameter(name, {{64, 64}, DType::kF32}, Constant(0));
    g.Annotate(w, layout);
    return w;
  }
  static Value Product(GraphBuilder& g, Value x, Value w, const char* name) {
    return g.Op("contract", {x, w}, {{"equation", "bi,io->bo"}}, name);
  }

  OpRegistry ops_ = ToyOps();
  CostModel cost_;
};

TEST_F(FuseSumsTest, AProductAddsWhatIsThereBefore) {
  GraphBuilder g(ops_);
  Value x = X(g, "x"), w = W(g, "w");
  Value p = Product(g, g.Op("norm", {x}, {}, "n"), w, "p");
  g.Output("y", g.Op("relu", {g.Op("add", {x, p}, {}, "sum")}, {}, "y"));
  EXPECT_THAT(Fuse(g), ElementsAre("n = norm x", "sum = contract n w x", "y = relu sum"));
}

// As the gradients of queries, keys and values for their common input.
TEST_F(FuseSumsTest, ProductsAddUpOneAfterAnother) {
  GraphBuilder g(ops_);
  Value a = X(g, "a"), b = X(g, "b"), c = X(g, "c"), w = W(g, "w");
  Value p = Product(g, a, w, "p"), q = Product(g, b, w, "q"), r = Product(g, c, w, "r");
  g.Output("y", g.Op("add", {g.Op("add", {p, q}, {}, "two"), r}, {}, "three"));
  EXPECT_THAT(Fuse(g),
              ElementsAre("p = contract a w", "two = contract b w p", "three = contract c w two"));
}

TEST_F(FuseSumsTest, ProductsTakeTheTermsOfALongSum) {
  GraphBuilder g(ops_);
  Value x = X(g, "x"), z = X(g, "z"), w = W(g, "w");
  Value p = Product(g, x, w, "p"), q = Product(g, z, w, "q");
  Value late = g.Op("relu", {z}, {}, "late");
  g.Output("all", g.Op("add_n", {q, p, x}, {}, "all"));
  g.Output("rest", g.Op("add_n", {late, Product(g, x, w, "s"), x}, {}, "rest"));
  EXPECT_THAT(Fuse(g), ElementsAre("p = contract x w x", "all = contract z w p", "late = relu z",
                                   "s = contract x w late", "rest = add_n s x"));
}

TEST_F(FuseSumsTest, OnlyWhatTheSumAloneReads) {
  GraphBuilder g(ops_);
  Value x = X(g, "x"), w = W(g, "w");
  Value p = Product(g, x, w, "p"), q = Product(g, x, w, "q"), r = Product(g, x, w, "r");
  g.Output("a", g.Op("add", {x, p}, {}, "a"));
  g.Output("b", g.Op("relu", {p}, {}, "b"));
  g.Output("c", g.Op("add", {q, q}, {}, "c"));
  g.Output("d", g.Op("add", {x, r}, {}, "d"));
  g.Output("r", r);
  EXPECT_THAT(Fuse(g), ElementsAre("p = contract x w", "q = contract x w", "r = contract x w",
                                   "a = add x p", "b = relu p", "c = add q q", "d = add x r"));
}

TEST_F(FuseSumsTest, NotWhatComesAfterTheProduct) {
  GraphBuilder g(ops_);
  Value x = X(g, "x"), w = W(g, "w");
  Value p = Product(g, x, w, "p");
  g.Output("y", g.Op("add", {p, g.Op("relu", {x}, {}, "late")}, {}, "y"));
  EXPECT_THAT(Fuse(g), ElementsAre("p = contract x w", "late = relu x", "y = add p late"));
}

TEST_F(FuseSumsTest, NotWhatIsCastFirst) {
  GraphBuilder g(ops_);
  Value x = X(g, "x"), w = W(g, "w");
  Value narrow = g.Op("cast", {Product(g, x, w, "p")}, {}, "narrow");
  g.Output("y", g.Op("add", {narrow, g.Op("cast", {x}, {}, "x16")}, {}, "y"));
  EXPECT_THAT(Fuse(g), ElementsAre("p = contract x w", "narrow = cast p", "x16 = cast x",
                                   "y = add narrow x16"));
}

// The product is made once a step; the sum once a microbatch.
TEST_F(FuseSumsTest, NotWhatRunsMoreOftenThen) {
  GraphBuilder g(ops_);
  Value x = X(g, "x"), w = W(g, "w"), v = W(g, "v");
  g.Output("y", g.Op("add", {x, Product(g, w, v, "p")}, {}, "y"));
  EXPECT_THAT(Fuse(g), ElementsAre("p = contract w v", "y = add x p"));
}

TEST_F(FuseSumsTest, PartialSumsAreCompletedBeforeAWholeIsAdded) {
  GraphBuilder g(ops_, *Mesh::Parse("m:4"));
  Value x = X(g, "x"), h = X(g, "h", "[m:S(1)]"), w = W(g, "w", "[m:S(0)]");
  Value sum = g.Op("add", {x, Product(g, h, w, "p")}, {}, "sum");
  g.Output("y", g.Op("norm", {sum}, {}, "y"));
  EXPECT_THAT(Fuse(g), ElementsAre("p = contract h w", "p as [m:B] = convert p",
                                   "sum = add x p as [m:B]", "y = norm sum"));
}

// Both terms are partial: every rank adds its own, and one all-reduce completes the sum.
TEST_F(FuseSumsTest, PartialSumsAddUp) {
  GraphBuilder g(ops_, *Mesh::Parse("m:4"));
  Value h = X(g, "h", "[m:S(1)]"), w = W(g, "w", "[m:S(0)]"), v = W(g, "v", "[m:S(0)]");
  Value sum = g.Op("add", {Product(g, h, w, "p"), Product(g, h, v, "q")}, {}, "sum");
  g.Output("y", g.Op("norm", {sum}, {}, "y"));
  EXPECT_THAT(Fuse(g), ElementsAre("p = contract h w", "sum = contract h v p",
                                   "sum as [m:B] = convert sum", "y = norm sum as [m:B]"));
}

// Parts of rows on every rank; on an axis of one rank, layouts of other names are the same.
TEST_F(FuseSumsTest, TermsThatLieAlike) {
  GraphBuilder g(ops_, *Mesh::Parse("d:4,one:1"));
  Value x = X(g, "x", "[d:S(0), one:S(1)]"), w = W(g, "w");
  g.Output("y", g.Op("add", {x, Product(g, x, w, "p")}, {}, "y"));
  const std::vector<std::string> lines = Fuse(g);
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines[0], "y = contract x w x");
}

// The other term travels while the product is made: taking it would make the product wait.
TEST_F(FuseSumsTest, NotWhatStillTravels) {
  GraphBuilder g(ops_, *Mesh::Parse("m:4"));
  Value x = X(g, "x"), h = X(g, "h", "[m:S(1)]"), w = W(g, "w", "[m:S(0)]"), v = W(g, "v");
  Value t = Product(g, h, w, "t");
  g.Annotate(t, "[m:B]");
  Value sum = g.Op("add", {t, Product(g, x, v, "p")}, {}, "sum");
  g.Output("y", g.Op("norm", {sum}, {}, "y"));
  const std::vector<std::string> lines = Fuse(g);
  EXPECT_THAT(lines, testing::Contains("sum = add t p"));
  EXPECT_THAT(lines, testing::Contains("p = contract x v"));
}

}  // namespace
}  // namespace weft
