#include "graph/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "tests/graph/toy_ops.h"

namespace weft {
namespace {

using ::testing::HasSubstr;
using testing::Numbers;
using Kind = OptimizerConfig::Kind;

class OptimizerTest : public ::testing::Test {
 protected:
  // loss = sum((x * w + b)^2), per microbatch.
  static Value Model(GraphBuilder& g) {
    Value x = g.Input("x", {{1, 2}, DType::kF32});
    Value w = g.Parameter("w", {{2, 2}, DType::kF32}, Normal(1));
    Value b = g.Parameter("b", {{2}, DType::kF32}, Normal(1));
    g.Annotate(w, "[model:S(1)]");
    Value y = g.Op("add", {g.Op("matmul", {x, w}), b});
    return g.Op("reduce_sum", {g.Op("square", {y})}, {{"axes", std::vector<int64_t>{0, 1}}});
  }
  Value Model() { return Model(g_); }

  const Variable& FindVariable(const Graph& graph, const std::string& name) {
    for (const Variable& variable : graph.variables) {
      if (variable.name == name) return variable;
    }
    ADD_FAILURE() << "no variable " << name;
    return graph.variables[0];
  }

  const OpRegistry ops_ = testing::ToyOps();
  GraphBuilder g_{ops_, *Mesh::Parse("data:2,model:2")};
};

TEST_F(OptimizerTest, SgdStepByHand) {
  OptimizerConfig config{.kind = Kind::kSgd, .momentum = 0.5, .weight_decay = 0.1, .clip_norm = 1};
  ASSERT_TRUE(AddOptimizer(g_, Model(), config).ok()) << g_.status();
  auto graph = g_.Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto result = testing::RunStep(
      *graph, 2, {{"x", {{1, 2}, {3, 4}}}, {"learning_rate", {{0.1}}}},
      {{"w", {1, 0, 0, 1}}, {"b", {0, 1}}, {"w.momentum", {1, 1, 1, 1}}, {"b.momentum", {1, 1}}});
  // y = (1,3), (3,5); db = 2 sum y = (8,16); dw = 2 sum x^T y = (20,36; 28,52).
  EXPECT_NEAR(result.outputs.at("loss")[0], 1 + 9 + 9 + 25, 1e-12);
  const double norm = std::sqrt(64.0 + 256 + 400 + 1296 + 784 + 2704);
  EXPECT_NEAR(result.outputs.at("grad_norm")[0], norm, 1e-9);
  const double clip = 1 / (norm + 1e-6);
  EXPECT_NEAR(result.updates.at("b.momentum")[0], 0.5 + 8 * clip, 1e-9);
  EXPECT_NEAR(result.updates.at("b")[1], 1 - 0.1 * (0.5 + 16 * clip), 1e-9);
  EXPECT_NEAR(result.updates.at("w.momentum")[3], 0.5 + 52 * clip + 0.1 * 1, 1e-9);
  EXPECT_NEAR(result.updates.at("w")[1], 0 - 0.1 * (0.5 + 36 * clip), 1e-9);
}

TEST_F(OptimizerTest, AdamWStatesLieAsTheirParameters) {
  ASSERT_TRUE(AddOptimizer(g_, Model(), {.weight_decay = 0.1}).ok());
  auto graph = g_.Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->variables.size(), 6u);
  for (const char* name : {"w.m", "w.v"}) {
    const Variable& state = FindVariable(*graph, name);
    EXPECT_FALSE(state.trainable);
    EXPECT_TRUE(state.update);
    EXPECT_EQ(state.init_op, "fill");
    EXPECT_EQ(graph->info(state.value).annotation,
              graph->info(FindVariable(*graph, "w").value).annotation);
  }
  EXPECT_FALSE(graph->info(FindVariable(*graph, "b.m").value).annotation);
  for (const GraphInput& input : graph->inputs) {
    if (input.name != "x") {
      EXPECT_EQ(graph->info(input.value).rate, Rate::kStep) << input.name;
    }
  }
}

TEST_F(OptimizerTest, VectorsAreExemptFromDecay) {
  ASSERT_TRUE(AddOptimizer(g_, Model(), {.weight_decay = 0.1}).ok());
  int updates = 0;
  for (const Node& node : g_.graph().nodes) {
    if (node.op->name != "adamw") continue;
    ++updates;
    const int rank = g_.spec(node.inputs[0]).rank();
    EXPECT_EQ(node.attrs.Float("weight_decay"), rank >= 2 ? 0.1 : 0.0);
  }
  EXPECT_EQ(updates, 2);
}

TEST_F(OptimizerTest, LambTakesLogicalNorms) {
  ASSERT_TRUE(AddOptimizer(g_, Model(), {.kind = Kind::kLamb}).ok());
  auto graph = g_.Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  int norms = 0;
  for (const Node& node : graph->nodes) norms += node.op->name == "sum_squares";
  EXPECT_EQ(norms, 2 + 2 * 2);  // of gradients; of parameters and of their updates
  EXPECT_TRUE(FindVariable(*graph, "w").update);
}

TEST_F(OptimizerTest, AdamWThatClipsNothingMakesTheNorm) {
  ASSERT_TRUE(AddOptimizer(g_, Model(), {.clip_norm = 0}).ok());
  auto graph = g_.Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  std::vector<Value> squares, factors;
  for (const Node& node : graph->nodes) {
    EXPECT_NE(node.op->name, "sum_squares");
    if (node.op->name != "adamw") continue;
    squares.push_back(node.outputs[3]);
    factors.push_back(node.inputs[6]);
  }
  ASSERT_EQ(factors.size(), 2u);
  EXPECT_EQ(factors[0], factors[1]);
  const Node& off = graph->nodes[graph->info(factors[0]).node];
  EXPECT_EQ(off.op->name, "fill");
  EXPECT_EQ(off.attrs.Float("value"), 1.0);
  for (const GraphOutput& output : graph->outputs) {
    if (output.name != "grad_norm") continue;
    const Node& root = graph->nodes[graph->info(output.value).node];
    EXPECT_EQ(graph->nodes[graph->info(root.inputs[0]).node].inputs, squares);
  }
}

TEST_F(OptimizerTest, AdamWThatClipsTakesTheFactorOfAllGradients) {
  ASSERT_TRUE(AddOptimizer(g_, Model(), {.clip_norm = 1}).ok());
  int norms = 0;
  for (const Node& node : g_.graph().nodes) {
    norms += node.op->name == "sum_squares";
    if (node.op->name != "adamw") continue;
    EXPECT_EQ(g_.graph().nodes[g_.graph().info(node.inputs[6]).node].op->name, "clip_scale");
  }
  EXPECT_EQ(norms, 2);
}

// A scale changes nothing but what the gradients are multiplied by on their way.
TEST_F(OptimizerTest, AScaledSgdStepIsThatWithoutAScale) {
  const testing::Feeds feeds = {{"x", {{1, 2}, {3, 4}}}, {"learning_rate", {{0.1}}}};
  std::map<std::string, Numbers> variables = {
      {"w", {1, 0, 0, 1}}, {"b", {0, 1}}, {"w.momentum", {1, 1, 1, 1}}, {"b.momentum", {1, 1}}};
  OptimizerConfig config{.kind = Kind::kSgd, .momentum = 0.5, .weight_decay = 0.1, .clip_norm = 1};
  std::vector<testing::StepResult> results;
  for (bool scaled : {false, true}) {
    GraphBuilder g(ops_, *Mesh::Parse("data:2,model:2"));
    if (scaled) config.loss_scaling = {.initial = 1024, .growth_every = 10};
    ASSERT_TRUE(AddOptimizer(g, Model(g), config).ok()) << g.status();
    auto graph = g.Build();
    ASSERT_TRUE(graph.ok()) << graph.status();
    if (scaled) {
      EXPECT_EQ(FindVariable(*graph, "loss_scale.value").init_attrs.Float("value"), 1024);
      variables["loss_scale.value"] = {1024};
    }
    results.push_back(testing::RunStep(*graph, 2, feeds, variables));
  }
  for (const auto& [name, want] : results[0].updates) {
    const Numbers& got = results[1].updates.at(name);
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12) << name << i;
  }
  for (const auto& [name, want] : results[0].outputs) {
    EXPECT_NEAR(results[1].outputs.at(name)[0], want[0], 1e-9) << name;
  }
  EXPECT_EQ(results[1].outputs.at("loss_scale")[0], 1024);
  EXPECT_EQ(results[1].outputs.at("skipped")[0], 0);
  EXPECT_EQ(results[1].updates.at("loss_scale.good_steps")[0], 1);
  EXPECT_EQ(results[1].updates.at("loss_scale.updates")[0], 1);
}

// Every update takes `skip`, and bias is corrected by the steps that counted, not by those fed.
TEST_F(OptimizerTest, WithALossScaleEveryUpdateMayBeSkipped) {
  for (const Kind kind : {Kind::kSgd, Kind::kAdamW, Kind::kLamb}) {
    GraphBuilder g(ops_, *Mesh::Parse("data:2,model:2"));
    const OptimizerConfig config{.kind = kind, .loss_scaling = LossScaling{}};
    ASSERT_TRUE(AddOptimizer(g, Model(g), config).ok()) << g.status();
    const Graph& graph = g.graph();
    const Node* scale = nullptr;
    for (const Node& node : graph.nodes) {
      if (node.op->name == "loss_scale_update") scale = &node;
    }
    ASSERT_NE(scale, nullptr);
    int updates = 0;
    for (const Node& node : graph.nodes) {
      const std::string& op = node.op->name;
      if (op == "clip_scale") {
        EXPECT_EQ(node.inputs[1], scale->inputs[0]);
      }
      if (op != "sgd" && op != "adamw" && op != "lamb_update" && op != "lamb_apply") continue;
      ++updates;
      EXPECT_EQ(node.inputs.back(), scale->outputs[3]) << op;
      EXPECT_EQ(node.op->inputs.size(), node.inputs.size()) << op;
      const int step = op == "adamw" ? 5 : op == "lamb_update" ? 4 : -1;
      if (step >= 0) {
        EXPECT_EQ(node.inputs[step], scale->outputs[2]) << op;
      }
    }
    EXPECT_EQ(updates, kind == Kind::kLamb ? 4 : 2);
    for (const GraphInput& input : graph.inputs) EXPECT_NE(input.name, "step");
  }
}

TEST_F(OptimizerTest, GradientsAreSummedOncePerStep) {
  ASSERT_TRUE(AddOptimizer(g_, Model(), {}).ok());
  for (const Node& node : g_.graph().nodes) {
    if (node.op->name != "adamw") continue;
    const ValueInfo& gradient = g_.graph().info(node.inputs[3]);
    EXPECT_EQ(g_.graph().nodes[gradient.node].op->name, "accumulate");
    EXPECT_EQ(gradient.rate, Rate::kStep);
  }
}

TEST_F(OptimizerTest, AParameterThatTheLossDoesNotSee) {
  Value loss = Model();
  g_.Parameter("idle", {{2}, DType::kF32}, Normal(1));
  const absl::Status status = AddOptimizer(g_, loss, {});
  EXPECT_THAT(std::string(status.message()), HasSubstr("parameter 'idle'"));
  EXPECT_FALSE(g_.Build().ok());
}

TEST_F(OptimizerTest, NothingToTrain) {
  Value x = g_.Input("x", {{}, DType::kF32});
  EXPECT_THAT(std::string(AddOptimizer(g_, x, {}).message()), HasSubstr("no trainable variable"));
}

TEST_F(OptimizerTest, RatesAreChecked) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(ValidateOptimizer({}).ok());
  EXPECT_FALSE(ValidateOptimizer({.momentum = 1}).ok());
  EXPECT_FALSE(ValidateOptimizer({.beta1 = -0.1}).ok());
  EXPECT_FALSE(ValidateOptimizer({.beta2 = nan}).ok());
  EXPECT_FALSE(ValidateOptimizer({.eps = -1}).ok());
  EXPECT_FALSE(ValidateOptimizer({.weight_decay = nan}).ok());
  EXPECT_THAT(std::string(ValidateOptimizer({.clip_norm = -1}).message()),
              HasSubstr("clip_norm is -1"));
  for (double scale : {0.5, 3.0, -2.0, 0.0, nan, 0x1p41}) {
    EXPECT_FALSE(ValidateOptimizer({.loss_scaling = LossScaling{.initial = scale}}).ok()) << scale;
  }
  for (double scale : {1.0, 65536.0, kMostLossScale}) {
    EXPECT_TRUE(ValidateOptimizer({.loss_scaling = LossScaling{.initial = scale}}).ok()) << scale;
  }
  EXPECT_FALSE(ValidateOptimizer({.loss_scaling = LossScaling{.growth_every = 0}}).ok());
}

}  // namespace
}  // namespace weft
