#include "graph/graph_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "graph/graph_builder.h"
#include "graph/optimizer.h"
#include "tests/graph/toy_ops.h"

namespace weft {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kSmall[] = R"(name: "small"
meshes: "data:2"
inputs {
  name: "x"
  value { type: "f32[4]" annotation: "[data:S(0)]" }
}
variables {
  name: "w"
  value { type: "f32[4]" }
  init_op: "random_normal"
  init_attrs { key: "shape" value { ints { values: 4 } } }
  update: "a"
}
nodes { name: "y" op: "mul" inputs: "x" inputs: "w" }
nodes { name: "s" op: "scale" inputs: "y" attrs { key: "factor" value { f: 2 } } }
nodes { name: "a" op: "accumulate" inputs: "s" outputs { type: "f32[4]" } }
outputs { name: "result" value: "y" }
)";

class GraphTextTest : public ::testing::Test {
 protected:
  // The error for kSmall with `from` replaced by `to`.
  std::string ErrorWith(const std::string& from, const std::string& to) {
    const std::string text = absl::StrReplaceAll(kSmall, {{from, to}});
    EXPECT_NE(text, kSmall) << from;
    return Error(text);
  }

  std::string Error(const std::string& text) {
    auto graph = ParseGraphText(text, ops_, "model.pbtxt");
    EXPECT_FALSE(graph.ok());
    EXPECT_EQ(graph.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(graph.status().message());
  }

  void ExpectIdentity(const Graph& graph) {
    const std::string text = GraphText(graph);
    auto read = ParseGraphText(text, ops_);
    ASSERT_TRUE(read.ok()) << read.status() << "\n" << text;
    EXPECT_EQ(GraphText(*read), text);
    ASSERT_EQ(read->nodes.size(), graph.nodes.size());
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      EXPECT_EQ(read->nodes[n].name, graph.nodes[n].name);
      EXPECT_EQ(read->nodes[n].op, graph.nodes[n].op);
      EXPECT_EQ(read->nodes[n].attrs, graph.nodes[n].attrs);
      EXPECT_EQ(read->nodes[n].input_layouts, graph.nodes[n].input_layouts);
      ASSERT_EQ(read->nodes[n].outputs.size(), graph.nodes[n].outputs.size());
      for (size_t i = 0; i < graph.nodes[n].outputs.size(); ++i) {
        const ValueInfo& a = read->info(read->nodes[n].outputs[i]);
        const ValueInfo& b = graph.info(graph.nodes[n].outputs[i]);
        EXPECT_EQ(a.name, b.name);
        EXPECT_EQ(a.spec, b.spec);
        EXPECT_EQ(a.rate, b.rate);
        EXPECT_EQ(a.layout, b.layout);
        EXPECT_EQ(a.annotation, b.annotation);
      }
    }
  }

  // A training step of a model with every feature of the IR.
  Graph Training(OptimizerConfig::Kind kind) {
    GraphBuilder g(ops_, *Mesh::Parse("data:2,model:2@3,1,2,0"));
    Value x = g.Input("x", {{1, 2}, DType::kF32});
    Value w = g.Parameter("w", {{2, 2}, DType::kF32}, Normal(1.0 / 3));
    Value s = g.Parameter("scalar \"quoted\"\n", {{}, DType::kF32}, Constant(0.1));
    g.Annotate(w, "[model:S(1; zigzag)]");
    Value y = g.Op("pick", {g.Op("mul", {g.Op("matmul", {x, w}), s}), Value()});
    Value loss = g.Op("reduce_sum", {g.Op("square", {y})}, {{"axes", std::vector<int64_t>{0, 1}}});
    EXPECT_TRUE(AddOptimizer(g, loss, {.kind = kind, .clip_norm = 1e-30}).ok()) << g.status();
    return *g.Build();
  }

  const OpRegistry ops_ = testing::ToyOps();
};

TEST_F(GraphTextTest, HandWrittenTextNeedsOnlyTheFacts) {
  auto graph = ParseGraphText(kSmall, ops_);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->name, "small");
  EXPECT_EQ(graph->nodes[1].attrs.Float("factor"), 2.0);
  EXPECT_EQ(graph->variables[0].init_attrs.Float("stddev"), 1.0);
  EXPECT_EQ(graph->info(graph->nodes[1].outputs[0]).rate, Rate::kMicrobatch);
  EXPECT_EQ(graph->info(graph->nodes[2].outputs[0]).rate, Rate::kStep);
  EXPECT_EQ(graph->variables[0].update, graph->nodes[2].outputs[0]);
  ExpectIdentity(*graph);
}

TEST_F(GraphTextTest, EmptyTextIsTheEmptyGraph) {
  auto graph = ParseGraphText("", ops_);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->meshes.size(), 1u);
  ExpectIdentity(*graph);
}

TEST_F(GraphTextTest, TrainingStepsReadBack) {
  for (auto kind :
       {OptimizerConfig::Kind::kSgd, OptimizerConfig::Kind::kAdamW, OptimizerConfig::Kind::kLamb}) {
    ExpectIdentity(Training(kind));
  }
}

TEST_F(GraphTextTest, LayoutsAndConversionsReadBack) {
  Graph graph = *ParseGraphText(kSmall, ops_);
  graph.meshes.push_back(*Mesh::Parse("data:2,model:2@4,5,6,7"));
  graph.info(graph.inputs[0].value).layout = {Sbp::S(0)};
  graph.nodes[0].input_layouts = {{Sbp::S(0)}, {Sbp::B()}};
  ValueInfo info = graph.info(graph.inputs[0].value);
  info.name = "x_moved";
  info.node = static_cast<int>(graph.nodes.size());
  info.mesh = 1;
  info.annotation.reset();
  info.layout = {Sbp::B(), Sbp::P(Monoid::kMax)};
  graph.values.push_back(info);
  Node convert;
  convert.name = "convert";
  convert.reason = "y";
  convert.inputs = {graph.inputs[0].value};
  convert.outputs = {Value{static_cast<int>(graph.values.size()) - 1}};
  ValueInfo token;
  token.name = "token";
  token.spec = {{0}, DType::kU8};
  graph.values.push_back(token);
  const Value made{static_cast<int>(graph.values.size()) - 1};
  graph.inputs.push_back({"token", made});
  convert.after = {made};
  graph.nodes.push_back(convert);
  ASSERT_TRUE(Verify(graph).ok()) << Verify(graph);
  ExpectIdentity(graph);
  graph.nodes.back().after = {graph.inputs[0].value};
  EXPECT_THAT(Verify(graph).message(), ::testing::HasSubstr("has elements"));
}

TEST_F(GraphTextTest, SyntaxErrorsHaveLines) {
  EXPECT_THAT(Error("name: \"a\"\nmeshes: 3\n"), HasSubstr("model.pbtxt:2:9: "));
  EXPECT_THAT(Error("name: \"a\"\n\ncolour: 3\n"),
              AllOf(HasSubstr("model.pbtxt:3:"), HasSubstr("no field 'colour'")));
  EXPECT_THAT(Error("nodes {"), HasSubstr("model.pbtxt:1:"));
}

TEST_F(GraphTextTest, MeaningErrorsHaveLinesAndNames) {
  EXPECT_THAT(ErrorWith("op: \"mul\"", "op: \"mull\""),
              AllOf(HasSubstr("model.pbtxt:14: node 'y'"), HasSubstr("no op is named 'mull'")));
  EXPECT_THAT(ErrorWith("inputs: \"y\"", "inputs: \"z\""),
              AllOf(HasSubstr("model.pbtxt:15: node 's'"), HasSubstr("nothing is named 'z'")));
  EXPECT_THAT(ErrorWith("meshes: \"data:2\"", "meshes: \"data\""), HasSubstr("model.pbtxt:2: "));
  EXPECT_THAT(ErrorWith("data:S(0)", "data:S(1)"), HasSubstr("model.pbtxt:3: input 'x'"));
  EXPECT_THAT(ErrorWith("value: \"y\"", "value: \"q\""), HasSubstr("model.pbtxt:17: output"));
  EXPECT_THAT(ErrorWith("update: \"a\"", "update: \"q\""), HasSubstr("variable 'w': update"));
  EXPECT_THAT(ErrorWith("random_normal", "mul"), HasSubstr("init_op 'mul'"));
}

TEST_F(GraphTextTest, CyclesAreExplained) {
  EXPECT_THAT(ErrorWith("inputs: \"x\" inputs: \"w\"", "inputs: \"s\" inputs: \"w\""),
              AllOf(HasSubstr("node 'y'"), HasSubstr("no cycles")));
  EXPECT_THAT(ErrorWith("inputs: \"x\" inputs: \"w\"", "inputs: \"y\" inputs: \"w\""),
              HasSubstr("no cycles"));
}

TEST_F(GraphTextTest, NamesAreUnique) {
  EXPECT_THAT(ErrorWith("name: \"s\"", "name: \"y\""), HasSubstr("the name is taken"));
  EXPECT_THAT(ErrorWith("name: \"w\"", "name: \"x\""), HasSubstr("variable 'x'"));
  EXPECT_THAT(ErrorWith("name: \"s\"", "name: \"\""), HasSubstr("the name is empty"));
  EXPECT_THAT(ErrorWith("outputs { type: \"f32[4]\" }", "outputs { name: \"y\" }"),
              HasSubstr("two values are named 'y'"));
}

TEST_F(GraphTextTest, TypesAndAttributesAreChecked) {
  EXPECT_THAT(ErrorWith("outputs { type: \"f32[4]\" }", "outputs { type: \"f32[5]\" }"),
              HasSubstr("is f32[4] but the text says f32[5]"));
  EXPECT_THAT(ErrorWith("value { f: 2 }", "value { i: 2 }"), HasSubstr("wrong type"));
  EXPECT_THAT(ErrorWith("value { f: 2 }", "value { }"), HasSubstr("no value"));
  EXPECT_THAT(ErrorWith("key: \"factor\"", "key: \"fact\""), HasSubstr("no attribute 'fact'"));
  EXPECT_THAT(ErrorWith("values: 4", "values: 5"), HasSubstr("but the variable is f32[4]"));
  for (const char* type :
       {"f32", "f32[", "f32[4", "f33[4]", "f32[-4]", "f32[4,]", "f32[x]", "[]", "", "f32[4][4]",
        "f32[99999999999999999999]", "f32[4611686018427387904,4611686018427387904]",
        "f32[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"}) {
    EXPECT_THAT(
        ErrorWith("value { type: \"f32[4]\" }", absl::StrCat("value { type: \"", type, "\" }")),
        HasSubstr("variable 'w'"))
        << type;
  }
}

TEST_F(GraphTextTest, OperandsMeshesAndLayoutsAreChecked) {
  EXPECT_THAT(ErrorWith("inputs: \"x\" inputs: \"w\"", "inputs: \"x\""),
              HasSubstr("operand 'b' is missing"));
  EXPECT_THAT(ErrorWith("inputs: \"x\" inputs: \"w\"", "inputs: \"x\" inputs: \"\""),
              HasSubstr("operand 'b' is missing"));
  EXPECT_THAT(ErrorWith("type: \"f32[4]\" annotation", "type: \"f32[4]\" mesh: 1 annotation"),
              HasSubstr("mesh 1 of 1 does not exist"));
  EXPECT_THAT(ErrorWith("type: \"f32[4]\" annotation", "type: \"f32[4]\" mesh: -1 annotation"),
              HasSubstr("does not exist"));
  EXPECT_THAT(ErrorWith("inputs: \"y\"", "inputs: \"y\" input_layouts: \"[]\" input_layouts: \"\""),
              HasSubstr("1 operands but 2 input_layouts"));
  EXPECT_THAT(ErrorWith("op: \"mul\" ", ""), HasSubstr("a conversion: one operand"));
}

TEST_F(GraphTextTest, DeepNestingIsAnError) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "nodes { ";
  Error(text);
  text.clear();
  for (int i = 0; i < 100000; ++i) text += "colour { ";
  Error(text);
  Error(std::string(100000, '{'));
  Error(std::string(100000, '['));
}

// Whatever the text, an error or a legal graph comes out.
TEST_F(GraphTextTest, MutatedTextNeverCrashes) {
  const std::string training = GraphText(Training(OptimizerConfig::Kind::kAdamW));
  std::mt19937 random(1);
  const std::string alphabet = "{}[]:\"-9x \n\\,@S";
  for (int trial = 0; trial < 3000; ++trial) {
    std::string text = trial % 2 ? training : std::string(kSmall);
    const int edits = 1 + static_cast<int>(random() % 4);
    for (int e = 0; e < edits; ++e) {
      const size_t at = random() % text.size();
      switch (random() % 4) {
        case 0: text[at] = alphabet[random() % alphabet.size()]; break;
        case 1: text.erase(at, 1 + random() % 40); break;
        case 2: text.insert(at, text.substr(random() % text.size(), random() % 200)); break;
        default: text[at] = static_cast<char>(random()); break;
      }
      if (text.empty()) text = "x";
    }
    auto graph = ParseGraphText(text, ops_);
    if (graph.ok()) {
      EXPECT_TRUE(Verify(*graph).ok());
      EXPECT_EQ(GraphText(*ParseGraphText(GraphText(*graph), ops_)), GraphText(*graph));
    }
  }
}

}  // namespace
}  // namespace weft
