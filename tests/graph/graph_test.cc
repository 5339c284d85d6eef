#include "graph/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/graph_builder.h"
#include "tests/graph/toy_ops.h"

namespace weft {
namespace {

using ::testing::HasSubstr;

// A legal graph, of which each test breaks one thing.
class GraphTest : public ::testing::Test {
 protected:
  GraphTest() {
    GraphBuilder g(ops_, *Mesh::Parse("data:2"));
    Value x = g.Input("x", {{4}, DType::kF32});
    Value w = g.Parameter("w", {{4}, DType::kF32}, Normal(1));
    Value y = g.Op("mul", {x, w});
    g.Update(w, g.Op("accumulate", {g.Op("square", {y})}));
    g.Output("y", y);
    graph_ = *g.Build();
  }

  std::string Error() {
    const absl::Status status = Verify(graph_);
    EXPECT_FALSE(status.ok());
    return std::string(status.message());
  }

  const OpRegistry ops_ = testing::ToyOps();
  Graph graph_;
};

TEST_F(GraphTest, Legal) { EXPECT_TRUE(Verify(graph_).ok()); }

TEST_F(GraphTest, UseBeforeDefinition) {
  std::swap(graph_.nodes[0], graph_.nodes[1]);
  EXPECT_THAT(Error(), HasSubstr("node 'square'"));
}

TEST_F(GraphTest, Cycle) {
  graph_.nodes[0].inputs[0] = graph_.nodes[1].outputs[0];
  EXPECT_THAT(Error(), HasSubstr("before it is defined"));
}

TEST_F(GraphTest, OperandThatDoesNotExist) {
  graph_.nodes[0].inputs[0] = Value{1000};
  EXPECT_THAT(Error(), HasSubstr("node 'mul'"));
}

TEST_F(GraphTest, RepeatedNodeName) {
  graph_.nodes[1].name = "mul";
  EXPECT_THAT(Error(), HasSubstr("two nodes are named 'mul'"));
}

TEST_F(GraphTest, ResultOfAnotherShape) {
  graph_.info(graph_.nodes[0].outputs[0]).spec.shape = {3};
  EXPECT_THAT(Error(), HasSubstr("not what the op infers"));
}

TEST_F(GraphTest, IllegalAnnotation) {
  graph_.info(graph_.inputs[0].value).annotation = Layout{Sbp::S(1)};
  EXPECT_THAT(Error(), HasSubstr("annotation of 'x'"));
}

TEST_F(GraphTest, IllegalLayout) {
  graph_.info(graph_.inputs[0].value).layout = {Sbp::S(0), Sbp::S(0)};
  EXPECT_THAT(Error(), HasSubstr("layout of 'x'"));
}

TEST_F(GraphTest, MeshThatDoesNotExist) {
  graph_.info(graph_.inputs[0].value).mesh = 1;
  EXPECT_THAT(Error(), HasSubstr("lies on no mesh"));
}

TEST_F(GraphTest, UpdateOfAnotherSpec) {
  graph_.info(graph_.variables[0].value).spec.dtype = DType::kF64;
  EXPECT_FALSE(Verify(graph_).ok());
}

TEST_F(GraphTest, OutputThatDoesNotExist) {
  graph_.outputs.push_back({"z", Value()});
  EXPECT_THAT(Error(), HasSubstr("output 'z'"));
}

TEST_F(GraphTest, RepeatedOutputName) {
  graph_.outputs.push_back(graph_.outputs[0]);
  EXPECT_THAT(Error(), HasSubstr("two outputs are named 'y'"));
}

TEST_F(GraphTest, AttributeOfTheWrongType) {
  graph_.nodes[0].attrs.Set("nonsense", 1.0);
  EXPECT_THAT(Error(), HasSubstr("has no attribute 'nonsense'"));
}

TEST_F(GraphTest, Conversions) {
  Node convert;
  convert.name = "convert";
  convert.reason = "mul";
  ValueInfo info = graph_.info(graph_.inputs[0].value);
  info.name = "x_whole";
  info.node = static_cast<int>(graph_.nodes.size());
  graph_.values.push_back(info);
  convert.inputs = {graph_.inputs[0].value};
  convert.outputs = {Value{static_cast<int>(graph_.values.size()) - 1}};
  graph_.nodes.push_back(convert);
  EXPECT_TRUE(Verify(graph_).ok()) << Verify(graph_);
  graph_.values.back().spec.shape = {5};
  EXPECT_THAT(Error(), HasSubstr("node 'convert'"));
}

}  // namespace
}  // namespace weft
