// Layout inference on networks whose best layout is known: Megatron-LM's split of an MLP, data
// parallelism, sharded states.
#include "parallel/infer_layouts.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "graph/graph_builder.h"
#include "gtest/gtest.h"
#include "parallel/insert_reshards.h"
#include "tests/parallel/toy_ops.h"

namespace weft {
namespace {

using testing::HasSubstr;

class InferLayoutsTest : public testing::Test {
 protected:
  Graph Infer(GraphBuilder& g, int microbatches = 1) {
    absl::StatusOr<Graph> graph = g.Build();
    EXPECT_TRUE(graph.ok()) << graph.status();
    conversions_.clear();
    const PassContext context{ops_, cost_, microbatches, &conversions_};
    const absl::Status status = InferLayouts(*graph, context);
    EXPECT_TRUE(status.ok()) << status;
    const absl::Status inserted = InsertReshards(*graph, context);
    EXPECT_TRUE(inserted.ok()) << inserted;
    const absl::Status legal = Verify(*graph);
    EXPECT_TRUE(legal.ok()) << legal;
    return *std::move(graph);
  }

  static std::string LayoutOf(const Graph& graph, std::string_view name) {
    for (const ValueInfo& info : graph.values) {
      if (info.name == name) return ToString(info.layout, graph.meshes[info.mesh]);
    }
    return "no such value";
  }

  // Conversions that move bytes, as "value: how".
  std::vector<std::string> Moves() const {
    std::vector<std::string> moves;
    for (const Conversion& c : conversions_) {
      if (c.bytes > 0) moves.push_back(absl::StrCat(c.value, ": ", c.how));
    }
    return moves;
  }

  static Mesh MakeMesh(std::string_view text) { return *Mesh::Parse(text); }

  // x -> norm -> up -> relu -> down -> residual sum, `layers` times, and gradients of the weights
  // of the last layer by hand.
  struct Mlp {
    Value x, up, down;
  };
  Mlp AddMlp(GraphBuilder& g, Value x, int layer, const char* up_layout, const char* down_layout) {
    GraphBuilder::Scope scope(g, absl::StrCat("layer", layer));
    Mlp mlp;
    mlp.up = g.Parameter("up", {{256, 1024}, DType::kF32}, Constant(0));
    mlp.down = g.Parameter("down", {{1024, 256}, DType::kF32}, Constant(0));
    if (up_layout != nullptr) g.Annotate(mlp.up, up_layout);
    if (down_layout != nullptr) g.Annotate(mlp.down, down_layout);
    Value h = g.Op("norm", {x}, {}, "norm");
    h = g.Op("contract", {h, mlp.up}, {{"equation", "bi,io->bo"}}, "up_product");
    h = g.Op("relu", {h}, {}, "relu");
    h = g.Op("contract", {h, mlp.down}, {{"equation", "bi,io->bo"}}, "down_product");
    mlp.x = g.Op("add", {x, h}, {}, "residual");
    return mlp;
  }

  OpRegistry ops_ = ToyOps();
  CostModel cost_;
  std::vector<Conversion> conversions_;
};

TEST_F(InferLayoutsTest, MegatronMlpHasOneAllReducePerLayer) {
  GraphBuilder g(ops_, MakeMesh("data:2,model:2"));
  Value x = g.Input("x", {{4096, 256}, DType::kF32});
  g.Annotate(x, "[data:S(0)]");
  for (int layer = 0; layer < 3; ++layer) {
    x = AddMlp(g, x, layer, "[model:S(1)]", "[model:S(0)]").x;
  }
  // As in a decoder; the total of x alone could be taken of partial sums.
  x = g.Op("norm", {x}, {}, "norm");
  g.Output("loss", g.Op("total", {x}, {}, "loss"));
  const Graph graph = Infer(g);
  for (int layer = 0; layer < 3; ++layer) {
    const std::string scope = absl::StrCat("layer", layer, ".");
    EXPECT_EQ(LayoutOf(graph, scope + "up_product"), "[data:S(0), model:S(1)]");
    EXPECT_EQ(LayoutOf(graph, scope + "relu"), "[data:S(0), model:S(1)]");
    EXPECT_EQ(LayoutOf(graph, scope + "down_product"), "[data:S(0), model:P(sum)]");
    EXPECT_EQ(LayoutOf(graph, scope + "residual"), "[data:S(0), model:B]");
  }
  EXPECT_EQ(LayoutOf(graph, "loss"), "[data:P(sum), model:B]");
  EXPECT_THAT(Moves(), testing::ElementsAre("layer0.down_product: all-reduce over model",
                                            "layer1.down_product: all-reduce over model",
                                            "layer2.down_product: all-reduce over model",
                                            "loss: all-reduce over data"));
  EXPECT_EQ(LayoutOf(graph, graph.values[graph.outputs[0].value.id].name), "[data:B, model:B]");
}

// The gradient dk of a value that all ranks hold whole comes as partial sums, passes through a
// linear op and then has two readers: the gradients of a weight and of the layer's input, to which
// another partial sum is added. As partial sums they need one reduction of the input's gradient and
// one of the weight's, a step; but neither reader alone can spare the reduction of what both read.
TEST_F(InferLayoutsTest, ReadersOfPartialSumsChangeTogether) {
  GraphBuilder g(ops_, MakeMesh("model:4"));
  const auto tensor = [&](const char* name, Shape shape, const char* layout) {
    Value v = g.Input(name, {std::move(shape), DType::kF32});
    g.Annotate(v, layout);
    return v;
  };
  const Attrs back = {{"equation", "bo,io->bi"}};
  Value x = tensor("x", {4096, 256}, "[]"), turn = tensor("turn", {128, 128}, "[]");
  Value ds = tensor("ds", {4096, 512}, "[model:S(1)]"),
        dq = tensor("dq", {4096, 256}, "[model:S(1)]");
  Value keys = tensor("keys", {128, 512}, "[model:S(1)]");
  Value wq = tensor("wq", {256, 256}, "[model:S(1)]");
  Value w = g.Parameter("w", {{256, 128}, DType::kF32}, Constant(0));
  g.Annotate(w, "[]");
  Value dk = g.Op("contract", {g.Op("contract", {ds, keys}, back, "dk"), turn}, back, "turned");
  Value dw = g.Op("accumulate", {g.Op("contract", {x, dk}, {{"equation", "bi,bo->io"}}, "dw")}, {},
                  "dw_sum");
  g.Update(w, g.Op("step", {w, dw}, {}, "w_next"));
  Value dx =
      g.Op("add", {g.Op("contract", {dk, w}, back), g.Op("contract", {dq, wq}, back)}, {}, "dx");
  g.Output("loss", g.Op("total", {g.Op("norm", {dx}, {}, "norm")}, {}, "loss"));
  const Graph graph = Infer(g);
  for (const char* name : {"dk", "turned", "dw_sum", "dx"}) {
    EXPECT_EQ(LayoutOf(graph, name), "[model:P(sum)]") << name;
  }
  EXPECT_THAT(Moves(), testing::UnorderedElementsAre("dx: all-reduce over model",
                                                     "dw_sum: all-reduce over model"));
}

// Forward and backward of one weight under data parallelism.
class DataParallelTest : public InferLayoutsTest {
 protected:
  Graph Run(const char* param_layout, int microbatches) {
    GraphBuilder g(ops_, MakeMesh("data:4"));
    Value x = g.Input("x", {{1024, 256}, DType::kF32});
    Value dy = g.Input("dy", {{1024, 512}, DType::kF32});
    g.Annotate(x, "[data:S(0)]");
    g.Annotate(dy, "[data:S(0)]");
    Value w = g.Parameter("w", {{256, 512}, DType::kF32}, Constant(0));
    if (param_layout != nullptr) g.Annotate(w, param_layout);
    g.Output("loss", g.Op("total", {g.Op("contract", {x, w}, {{"equation", "bi,io->bo"}}, "y")}));
    Value dw = g.Op("contract", {x, dy}, {{"equation", "bi,bo->io"}}, "dw");
    dw = g.Op("accumulate", {dw}, {}, "dw_sum");
    g.Update(w, g.Op("step", {w, dw}, {}, "w_next"));
    return Infer(g, microbatches);
  }
};

TEST_F(DataParallelTest, GradientsAreReducedOncePerStep) {
  for (const char* layout : {"[data:B]", static_cast<const char*>(nullptr)}) {
    for (int microbatches : {1, 8}) {
      const Graph graph = Run(layout, microbatches);
      EXPECT_EQ(LayoutOf(graph, "w"), "[data:B]");
      EXPECT_EQ(LayoutOf(graph, "y"), "[data:S(0)]");
      EXPECT_EQ(LayoutOf(graph, "dw"), "[data:P(sum)]");
      EXPECT_EQ(LayoutOf(graph, "dw_sum"), "[data:P(sum)]");
      EXPECT_THAT(Moves(), testing::UnorderedElementsAre(HasSubstr("dw_sum: all-reduce over data"),
                                                         HasSubstr("all-reduce over data")));
    }
  }
}

TEST_F(DataParallelTest, ShardedParameterIsGatheredAndItsGradientScattered) {
  const Graph graph = Run("[data:S(0)]", 4);
  EXPECT_EQ(LayoutOf(graph, "y"), "[data:S(0)]");
  EXPECT_EQ(LayoutOf(graph, "w_next"), "[data:S(0)]");
  EXPECT_THAT(Moves(), testing::UnorderedElementsAre("w: exchange", "dw_sum: exchange",
                                                     HasSubstr("all-reduce over data")));
}

TEST_F(InferLayoutsTest, UnannotatedInputsAndParametersAreSplitWhereThatIsCheaper) {
  GraphBuilder g(ops_, MakeMesh("x:2"));
  Value x = g.Input("x", {{512, 256}, DType::kF32});
  Value w = g.Parameter("w", {{256, 1024}, DType::kF32}, Constant(0));
  Value product = g.Op("contract", {x, w}, {{"equation", "bi,io->bo"}}, "product");
  g.Annotate(product, "[x:S(1)]");
  Value y = g.Op("relu", {product}, {}, "y");
  g.Output("loss", g.Op("total", {y}));
  const Graph graph = Infer(g);
  EXPECT_EQ(LayoutOf(graph, "y"), "[x:S(1)]");
  EXPECT_EQ(LayoutOf(graph, "x"), "[x:B]");
  EXPECT_EQ(LayoutOf(graph, "w"), "[x:S(1)]");
}

TEST_F(InferLayoutsTest, AnnotationOfAnActivationIsAFact) {
  GraphBuilder g(ops_, MakeMesh("x:4"));
  Value x = g.Input("x", {{512, 256}, DType::kF32});
  g.Annotate(x, "[x:S(0)]");
  Value h = g.Op("relu", {x}, {}, "h");
  g.Annotate(h, "[x:S(1)]");
  Value z = g.Op("relu", {h}, {}, "z");
  g.Annotate(z, "[x:S(1)]");
  g.Output("loss", g.Op("total", {z}));
  const Graph graph = Infer(g);
  EXPECT_EQ(LayoutOf(graph, "h"), "[x:S(1)]");
  EXPECT_EQ(LayoutOf(graph, "z"), "[x:S(1)]");
  EXPECT_EQ(Moves().size(), 2);  // an all-to-all to h's annotation, and the loss
}

TEST_F(InferLayoutsTest, ContradictionNamesBothValues) {
  GraphBuilder g(ops_, MakeMesh("x:4"));
  Value w = g.Parameter("w", {{256, 512}, DType::kF32}, Constant(0));
  Value next = g.Op("step", {w, w}, {}, "next");
  g.Annotate(w, "[x:S(0)]");
  g.Annotate(next, "[x:S(1)]");
  g.Update(w, next);
  absl::StatusOr<Graph> graph = g.Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  const absl::Status status = InferLayouts(*graph, PassContext{ops_, cost_, 1, nullptr});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'w'"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("'next'"));
}

TEST_F(InferLayoutsTest, OneRankNeedsNoConversion) {
  GraphBuilder g(ops_, MakeMesh("data:1,model:1"));
  Value x = g.Input("x", {{4096, 256}, DType::kF32});
  g.Annotate(x, "[data:S(0)]");
  x = AddMlp(g, x, 0, "[model:S(1)]", "[model:S(0)]").x;
  g.Output("loss", g.Op("total", {x}));
  const Graph graph = Infer(g);
  EXPECT_TRUE(conversions_.empty());
}

TEST_F(InferLayoutsTest, EqualGraphsGetEqualLayouts) {
  std::string first;
  for (int run = 0; run < 2; ++run) {
    GraphBuilder g(ops_, MakeMesh("data:2,model:4"));
    Value x = g.Input("x", {{4096, 256}, DType::kF32});
    g.Annotate(x, "[data:S(0)]");
    for (int layer = 0; layer < 3; ++layer) {
      x = AddMlp(g, x, layer, layer == 1 ? nullptr : "[model:S(1)]", nullptr).x;
    }
    g.Output("loss", g.Op("total", {x}));
    const Graph graph = Infer(g);
    std::string text;
    for (const ValueInfo& info : graph.values) {
      absl::StrAppend(&text, info.name, ToString(info.layout, graph.meshes[0]), "\n");
    }
    if (run == 0) first = text;
    EXPECT_EQ(text, first);
  }
}

// Time is measured by benchmarks/compile.cc; here it must not grow out of hand.
TEST_F(InferLayoutsTest, ManyOps) {
  for (const int layers : {200, 1000}) {
    GraphBuilder g(ops_, MakeMesh("data:2,model:4"));
    Value x = g.Input("x", {{4096, 256}, DType::kF32});
    g.Annotate(x, "[data:S(0)]");
    for (int i = 0; i < layers; ++i) x = AddMlp(g, x, i, "[model:S(1)]", "[model:S(0)]").x;
    g.Output("loss", g.Op("total", {x}));
    absl::StatusOr<Graph> graph = g.Build();
    ASSERT_TRUE(graph.ok()) << graph.status();
    const PassContext context{ops_, cost_, 4, &conversions_};
    ASSERT_TRUE(InferLayouts(*graph, context).ok());
    ASSERT_TRUE(InsertReshards(*graph, context).ok());
  }
}

}  // namespace
}  // namespace weft
