#include "graph/graph_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/graph/toy_ops.h"

namespace weft {
namespace {

using ::testing::HasSubstr;

class GraphBuilderTest : public ::testing::Test {
 protected:
  const TensorSpec vector_{{4}, DType::kF32};
  const OpRegistry ops_ = testing::ToyOps();
  GraphBuilder g_{ops_, *Mesh::Parse("data:2,model:2")};

  std::string Error() {
    auto graph = g_.Build();
    EXPECT_FALSE(graph.ok());
    return std::string(graph.status().message());
  }
};

TEST_F(GraphBuilderTest, BuildsAVerifiedGraph) {
  Value x = g_.Input("x", vector_);
  Value w = g_.Parameter("w", vector_, Normal(0.5));
  Value y = g_.Op("add", {x, w});
  g_.Output("y", y);
  g_.Annotate(x, "[data:S(0)]");
  auto graph = g_.Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->info(y).rate, Rate::kMicrobatch);
  EXPECT_EQ(graph->info(w).rate, Rate::kStep);
  EXPECT_EQ(graph->variables[0].init_attrs.Float("stddev"), 0.5);
  EXPECT_EQ(graph->variables[0].init_attrs.Ints("shape"), (std::vector<int64_t>{4}));
  EXPECT_TRUE(Verify(*graph).ok());
}

TEST_F(GraphBuilderTest, InitialisersDependOnSeedAndNameAlone) {
  auto seed = [&](int64_t key, const char* before, const char* name) {
    GraphBuilder g(ops_, {}, key);
    if (before != nullptr) g.Parameter(before, vector_, Normal(1));
    g.Parameter(name, vector_, Normal(1));
    return g.graph().variables.back().init_attrs.Int("seed");
  };
  EXPECT_EQ(seed(1, nullptr, "w"), seed(1, "other", "w"));
  EXPECT_NE(seed(1, nullptr, "w"), seed(2, nullptr, "w"));
  EXPECT_NE(seed(1, nullptr, "w"), seed(1, nullptr, "v"));
}

TEST_F(GraphBuilderTest, NamesAreScopedAndNumbered) {
  Value x = g_.Input("x", vector_);
  Value first, second, third;
  {
    GraphBuilder::Scope layers(g_, "layers.3");
    GraphBuilder::Scope attention(g_, "attention");
    first = g_.Op("square", {x});
    second = g_.Op("square", {x});
  }
  third = g_.Op("square", {x});
  EXPECT_EQ(g_.graph().info(first).name, "layers.3.attention.square");
  EXPECT_NE(g_.graph().info(second).name, g_.graph().info(first).name);
  EXPECT_EQ(g_.graph().info(third).name, "square");
}

TEST_F(GraphBuilderTest, ErrorsNameTheOpAndItsShapes) {
  Value x = g_.Input("x", vector_);
  Value y = g_.Input("y", {{3}, DType::kF32});
  g_.Op("add", {x, y}, {}, "sum");
  const std::string error = Error();
  EXPECT_THAT(error, HasSubstr("sum"));
  EXPECT_THAT(error, HasSubstr("add"));
  EXPECT_THAT(error, HasSubstr("x: f32[4]"));
  EXPECT_THAT(error, HasSubstr("y: f32[3]"));
}

TEST_F(GraphBuilderTest, TheFirstErrorSticksAndLaterCallsAreHarmless) {
  Value bad = g_.Op("nonsense", {});
  Value worse = g_.Op("add", {bad, bad});
  EXPECT_EQ(g_.Emit("halves", {worse}).size(), 2u);
  g_.Annotate(worse, "[data:S(0)]");
  g_.Update(worse, bad);
  g_.Output("y", worse);
  EXPECT_EQ(g_.spec(worse).rank(), 0);
  EXPECT_THAT(Error(), HasSubstr("nonsense"));
}

TEST_F(GraphBuilderTest, OperandCountsAreChecked) {
  Value x = g_.Input("x", vector_);
  g_.Op("add", {x});
  EXPECT_THAT(Error(), HasSubstr("operand 'b' is missing"));
}

TEST_F(GraphBuilderTest, TooManyOperands) {
  Value x = g_.Input("x", vector_);
  g_.Op("square", {x, x});
  EXPECT_THAT(Error(), HasSubstr("2 operands; square takes (x)"));
}

TEST_F(GraphBuilderTest, OptionalAndVariadicOperands) {
  Value x = g_.Input("x", vector_);
  g_.Op("pick", {x});
  g_.Op("pick", {x, Value()});
  g_.Op("add_n", {x, x, x, x});
  EXPECT_TRUE(g_.Build().ok());
}

TEST_F(GraphBuilderTest, UnknownAttribute) {
  Value x = g_.Input("x", vector_);
  g_.Op("scale", {x}, {{"faktor", 2.0}});
  EXPECT_THAT(Error(), HasSubstr("scale has no attribute 'faktor'; it has: factor"));
}

TEST_F(GraphBuilderTest, AttributeOfTheWrongType) {
  Value x = g_.Input("x", vector_);
  g_.Op("scale", {x}, {{"factor", 2}});
  EXPECT_THAT(Error(), HasSubstr("attribute 'factor' of scale has the wrong type"));
}

TEST_F(GraphBuilderTest, RepeatedNames) {
  g_.Input("x", vector_);
  g_.Parameter("x", vector_, Normal(1));
  EXPECT_THAT(Error(), HasSubstr("two values are named 'x'"));
}

TEST_F(GraphBuilderTest, AnnotationsMustBeLegalAndAgree) {
  Value x = g_.Input("x", vector_);
  g_.Annotate(x, "[data:S(0)]");
  g_.Annotate(x, "[data:S(0), model:B]");
  EXPECT_TRUE(g_.status().ok());
  g_.Annotate(x, "[data:B]");
  EXPECT_THAT(Error(), HasSubstr("annotated [data:S(0), model:B] before"));
}

TEST_F(GraphBuilderTest, AnnotationBeyondTheRank) {
  Value x = g_.Input("x", vector_);
  g_.Annotate(x, "[data:S(1)]");
  EXPECT_THAT(Error(), HasSubstr("no dimension 1"));
}

TEST_F(GraphBuilderTest, UpdatesAreOfVariablesOnce) {
  Value w = g_.Parameter("w", vector_, Normal(1));
  Value y = g_.Op("square", {w});
  g_.Update(w, y);
  g_.Update(w, y);
  EXPECT_THAT(Error(), HasSubstr("updated twice"));
}

TEST_F(GraphBuilderTest, UpdateOfAnotherShape) {
  Value w = g_.Parameter("w", vector_, Normal(1));
  g_.Update(w, g_.Emit("halves", {w})[0]);
  EXPECT_THAT(Error(), HasSubstr("variable 'w'"));
}

TEST_F(GraphBuilderTest, UnknownInitialiser) {
  g_.Parameter("w", vector_, {"magic", {}});
  EXPECT_THAT(Error(), HasSubstr("no op is named 'magic'"));
}

TEST_F(GraphBuilderTest, AccumulateEndsTheMicrobatch) {
  Value x = g_.Input("x", vector_);
  Value sum = g_.Op("accumulate", {x});
  EXPECT_EQ(g_.graph().info(sum).rate, Rate::kStep);
}

}  // namespace
}  // namespace weft
