// Which casts an op's wide result or a reader of narrow values replaces, and which stay.
#include "parallel/fuse_casts.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "graph/graph_builder.h"
#include "gtest/gtest.h"
#include "parallel/fuse_sums.h"
#include "parallel/infer_layouts.h"
#include "parallel/insert_reshards.h"
#include "tests/parallel/toy_ops.h"

namespace weft {
namespace {

using testing::Contains;
using testing::ElementsAre;

class FuseCastsTest : public testing::Test {
 protected:
  // The nodes after the pass, as "dtype result = op operands".
  std::vector<std::string> Fuse(GraphBuilder& g, int microbatches = 2) {
    absl::StatusOr<Graph> graph = g.Build();
    EXPECT_TRUE(graph.ok()) << graph.status();
    const PassContext context{ops_, cost_, microbatches};
    for (auto* pass : {InferLayouts, InsertReshards, FuseSums, FuseCasts}) {
      const absl::Status status = pass(*graph, context);
      EXPECT_TRUE(status.ok()) << status;
    }
    const absl::Status legal = Verify(*graph);
    EXPECT_TRUE(legal.ok()) << legal;
    std::vector<std::string> lines;
    for (const Node& node : graph->nodes) {
      EXPECT_EQ(node.input_layouts.size(), node.inputs.size()) << node.name;
      const ValueInfo& result = graph->info(node.outputs[0]);
      lines.push_back(absl::StrCat(std::string(Name(result.spec.dtype)), " ", result.name, " = ",
                                   node.is_reshard() ? "convert" : node.op->name, " ",
                                   absl::StrJoin(node.inputs, " ", [&](std::string* out, Value v) {
                                     absl::StrAppend(out, v ? graph->info(v).name : "-");
                                   })));
    }
    return lines;
  }

  // A bf16 matrix of every microbatch; an f32 one of the step.
  static Value X(GraphBuilder& g, const char* name, const char* layout = "[]") {
    Value x = g.Input(name, {{64, 64}, DType::kBF16});
    g.Annotate(x, layout);
    return x;
  }
  static Value W(GraphBuilder& g, const char* name, const char* layout = "[]") {
    Value w = g.Parameter(name, {{64, 64}, DType::kF32}, Constant(0));
    g.Annotate(w, layout);
    return w;
  }
  static Value Product(GraphBuilder& g, Value x, Value dy, const char* name = "p") {
    return g.Op("contract", {x, dy}, {{"equation", "bi,bo->io"}}, name);
  }
  // As autodiff makes it: the gradient cast, then summed over the microbatches.
  static Value Sum(GraphBuilder& g, Value gradient) {
    return g.Op("accumulate", {g.Op("widen", {gradient}, {}, "wide")}, {}, "sum");
  }
  static void Step(GraphBuilder& g, Value w, Value gradient) {
    g.Update(w, g.Op("step", {w, gradient}, {}, "next"));
  }

  OpRegistry ops_ = ToyOps();
  CostModel cost_;
};

// With several microbatches too: the product adds in f32.
TEST_F(FuseCastsTest, AProductMakesTheWideResult) {
  for (int microbatches : {1, 2}) {
    GraphBuilder g(ops_);
    Value x = X(g, "x"), dy = X(g, "dy"), w = W(g, "w");
    Step(g, w, Sum(g, Product(g, x, dy)));
    EXPECT_THAT(Fuse(g, microbatches),
                ElementsAre("f32 wide = contract x dy", "f32 sum = accumulate wide",
                            "f32 next = step w sum"));
  }
}

TEST_F(FuseCastsTest, NotWhereTheNarrowResultIsReadToo) {
  GraphBuilder g(ops_);
  Value x = X(g, "x"), dy = X(g, "dy"), p = Product(g, x, dy);
  g.Output("wide", g.Op("widen", {p}, {}, "wide"));
  g.Output("y", g.Op("relu", {p}, {}, "y"));
  Value q = Product(g, x, dy, "q");
  g.Output("q", q);
  g.Output("too", g.Op("widen", {q}, {}, "too"));
  EXPECT_THAT(Fuse(g),
              ElementsAre("bf16 p = contract x dy", "f32 wide = widen p", "bf16 y = relu p",
                          "bf16 q = contract x dy", "f32 too = widen q"));
}

// What the product adds is bf16, and so is the sum then.
TEST_F(FuseCastsTest, NotAProductWithANarrowAddend) {
  GraphBuilder g(ops_);
  Value x = X(g, "x"), dy = X(g, "dy");
  Value sum = g.Op("add", {x, Product(g, x, dy)}, {}, "both");
  g.Output("wide", g.Op("widen", {sum}, {}, "wide"));
  EXPECT_THAT(Fuse(g), ElementsAre("bf16 both = contract x dy x", "f32 wide = widen both"));
}

TEST_F(FuseCastsTest, ANarrowSumIsReadAsItIsIfItHasOneTerm) {
  GraphBuilder g(ops_);
  Value x = X(g, "x"), w = W(g, "w");
  Step(g, w, Sum(g, g.Op("relu", {x}, {}, "g")));
  EXPECT_THAT(Fuse(g, 1),
              ElementsAre("bf16 g = relu x", "bf16 sum = accumulate g", "f32 next = step w sum"));
}

TEST_F(FuseCastsTest, SumsOfSeveralMicrobatchesStayWide) {
  GraphBuilder g(ops_);
  Value x = X(g, "x"), w = W(g, "w");
  Step(g, w, Sum(g, g.Op("relu", {x}, {}, "g")));
  EXPECT_THAT(Fuse(g, 2), ElementsAre("bf16 g = relu x", "f32 wide = widen g",
                                      "f32 sum = accumulate wide", "f32 next = step w sum"));
}

// The step takes it narrow, `total`, an output and a variable do not.
TEST_F(FuseCastsTest, AllReadersMustTakeTheNarrowType) {
  for (const char* other : {"total", "output", "variable", "parameter"}) {
    GraphBuilder g(ops_);
    Value x = X(g, "x"), w = W(g, "w");
    Value sum = Sum(g, g.Op("relu", {x}, {}, "g"));
    Step(g, w, sum);
    if (other == std::string("total")) g.Output("total", g.Op("total", {sum}, {}, "total"));
    if (other == std::string("output")) g.Output("sum", sum);
    if (other == std::string("variable")) g.Update(W(g, "v"), sum);
    if (other == std::string("parameter")) g.Output("z", g.Op("step", {sum, w}, {}, "z"));
    EXPECT_THAT(Fuse(g, 1), Contains("f32 wide = widen g")) << other;
  }
}

// The gradient travels narrow; the optimizer reads what arrives.
TEST_F(FuseCastsTest, WhatTravelledIsReadAsItArrives) {
  GraphBuilder g(ops_, *Mesh::Parse("data:4"));
  Value x = X(g, "x", "[data:S(0)]"), dy = X(g, "dy", "[data:S(0)]"), w = W(g, "w", "[data:B]");
  Value p = Product(g, x, dy);
  g.Annotate(p, "[data:B]");
  Step(g, w, Sum(g, p));
  EXPECT_THAT(Fuse(g, 1), ElementsAre("bf16 p as [data:P(sum)] = contract x dy",
                                      "bf16 p = convert p as [data:P(sum)]",
                                      "bf16 sum = accumulate p", "f32 next = step w sum"));
}

// Partial sums are made wide where they are completed wide.
TEST_F(FuseCastsTest, APartialProductMakesTheWideResult) {
  GraphBuilder g(ops_, *Mesh::Parse("data:4"));
  Value x = X(g, "x", "[data:S(0)]"), dy = X(g, "dy", "[data:S(0)]"), w = W(g, "w", "[data:B]");
  Value wide = g.Op("widen", {Product(g, x, dy)}, {}, "wide");
  g.Annotate(wide, "[data:P(sum)]");
  Step(g, w, g.Op("accumulate", {wide}, {}, "sum"));
  const std::vector<std::string> lines = Fuse(g);
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines[0], "f32 wide = contract x dy");
}

TEST_F(FuseCastsTest, CastsToNarrowerTypesStay) {
  GraphBuilder g(ops_);
  Value w = W(g, "w");
  Step(g, w, g.Op("cast", {g.Op("relu", {w}, {}, "g")}, {}, "narrow"));
  EXPECT_THAT(Fuse(g, 1),
              ElementsAre("f32 g = relu w", "bf16 narrow = cast g", "f32 next = step w narrow"));
}

}  // namespace
}  // namespace weft
