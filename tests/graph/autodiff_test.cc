#include "graph/autodiff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/graph/toy_ops.h"

namespace weft {
namespace {

using testing::Feeds;
using ::testing::HasSubstr;
using testing::Numbers;
using testing::RunStep;

class AutodiffTest : public ::testing::Test {
 protected:
  const OpRegistry ops_ = testing::ToyOps();
  GraphBuilder g_{ops_};

  // Differentiates `loss`, and compares with central differences of the loss summed over the step.
  void Check(Value loss, int microbatches, const Feeds& feeds,
             std::map<std::string, Numbers> variables) {
    std::vector<Value> targets;
    std::vector<std::string> names;
    for (const Variable& variable : g_.graph().variables) {
      targets.push_back(variable.value);
      names.push_back(variable.name);
    }
    g_.Output("loss", g_.Op("accumulate", {loss}));
    auto gradients = Differentiate(g_, loss, targets);
    ASSERT_TRUE(gradients.ok()) << gradients.status();
    for (size_t i = 0; i < targets.size(); ++i) {
      ASSERT_TRUE((*gradients)[i]) << names[i];
      g_.Output(names[i], (*gradients)[i]);
    }
    auto graph = g_.Build();
    ASSERT_TRUE(graph.ok()) << graph.status();
    const auto outputs = RunStep(*graph, microbatches, feeds, variables).outputs;
    for (const std::string& name : names) {
      for (size_t e = 0; e < variables[name].size(); ++e) {
        const double step = 1e-5;
        auto moved = variables;
        moved[name][e] += step;
        const double up = RunStep(*graph, microbatches, feeds, moved).outputs["loss"][0];
        moved[name][e] -= 2 * step;
        const double down = RunStep(*graph, microbatches, feeds, moved).outputs["loss"][0];
        EXPECT_NEAR(outputs.at(name)[e], (up - down) / (2 * step), 1e-6) << name << "[" << e << "]";
      }
    }
  }

  Value SumAll(Value x) {
    std::vector<int64_t> axes;
    for (int d = 0; d < g_.spec(x).rank(); ++d) axes.push_back(d);
    return g_.Op("reduce_sum", {x}, {{"axes", axes}});
  }
};

TEST_F(AutodiffTest, ASeedMultipliesEveryGradient) {
  Value w = g_.Parameter("w", {{2}, DType::kF32}, Normal(1));
  Value seed = g_.State("seed", {{}, DType::kF32}, Constant(1));
  const auto gradients = Differentiate(g_, SumAll(g_.Op("square", {w})), {w}, seed);
  ASSERT_TRUE(gradients.ok()) << gradients.status();
  g_.Output("dw", (*gradients)[0]);
  const auto graph = g_.Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(RunStep(*graph, 1, {}, {{"w", {3, -1}}, {"seed", {8}}}).outputs.at("dw"),
            (Numbers{48, -16}));
}

TEST_F(AutodiffTest, ASeedIsLikeTheLoss) {
  Value w = g_.Parameter("w", {{2}, DType::kF32}, Normal(1));
  const absl::Status status = Differentiate(g_, SumAll(w), {w}, w).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("it must be f32[]"));
}

TEST_F(AutodiffTest, TwoLayersWithBiasOverMicrobatches) {
  Value x = g_.Input("x", {{2, 3}, DType::kF32});
  Value w = g_.Parameter("w", {{3, 2}, DType::kF32}, Normal(1));
  Value b = g_.Parameter("b", {{2}, DType::kF32}, Normal(1));
  Value v = g_.Parameter("v", {{2, 1}, DType::kF32}, Normal(1));
  Value h = g_.Op("square", {g_.Op("add", {g_.Op("matmul", {x, w}), b})});
  Check(SumAll(g_.Op("square", {g_.Op("matmul", {h, v})})), 2,
        {{"x", {{1, 2, -1, 0.5, 0, 1}, {0.3, -0.2, 1, 1, 2, 0.1}}}},
        {{"w", {0.1, -0.3, 0.2, 0.4, 0.5, -0.1}}, {"b", {0.2, -0.4}}, {"v", {0.7, -0.6}}});
}

TEST_F(AutodiffTest, AValueUsedTwiceSumsItsGradients) {
  Value w = g_.Parameter("w", {{2}, DType::kF32}, Normal(1));
  Value x = g_.Input("x", {{2}, DType::kF32});
  Check(SumAll(g_.Op("mul", {g_.Op("mul", {w, w}), g_.Op("mul", {w, x})})), 2,
        {{"x", {{1, 2}, {-1, 0.5}}}}, {{"w", {0.3, 0.7}}});
}

TEST_F(AutodiffTest, BroadcastDimensionsAreSummed) {
  Value w = g_.Parameter("w", {{1, 3}, DType::kF32}, Normal(1));
  Value s = g_.Parameter("s", {{}, DType::kF32}, Normal(1));
  Value x = g_.Input("x", {{2, 3}, DType::kF32});
  Check(SumAll(g_.Op("square", {g_.Op("mul", {g_.Op("mul", {x, w}), s})})), 1,
        {{"x", {{1, 2, 3, 4, 5, 6}}}}, {{"w", {0.3, 0.7, 0.2}}, {"s", {0.5}}});
}

// The gradient is a constant that no microbatch appears in, yet each of them adds to it.
TEST_F(AutodiffTest, BiasUnderALinearLossCountsEveryMicrobatch) {
  Value b = g_.Parameter("b", {{2}, DType::kF32}, Normal(1));
  Value x = g_.Input("x", {{3, 2}, DType::kF32});
  Check(SumAll(g_.Op("add", {x, b})), 3,
        {{"x", {Numbers(6, 1.0), Numbers(6, 2.0), Numbers(6, 3.0)}}}, {{"b", {0.1, 0.2}}});
}

TEST_F(AutodiffTest, ThroughCastsAndPerStepWork) {
  Value w = g_.Parameter("w", {{2}, DType::kF32}, Normal(1));
  Value x = g_.Input("x", {{2}, DType::kBF16});
  Value low = g_.Op("cast", {w}, {{"dtype", "bf16"}});
  Value y = g_.Op("cast", {g_.Op("square", {g_.Op("mul", {low, x})})}, {{"dtype", "f32"}});
  Check(SumAll(y), 2, {{"x", {{1, 2}, {3, 4}}}}, {{"w", {0.3, 0.7}}});
}

TEST_F(AutodiffTest, OneResultOfSeveralUsed) {
  Value w = g_.Parameter("w", {{4}, DType::kF32}, Normal(1));
  Value x = g_.Input("x", {{2}, DType::kF32});
  Value high = g_.Emit("halves", {w})[1];
  Check(SumAll(g_.Op("square", {g_.Op("mul", {high, x})})), 1, {{"x", {{1, 2}}}},
        {{"w", {0.3, 0.7, 0.2, 0.9}}});
}

TEST_F(AutodiffTest, AbsentOptionalOperand) {
  Value w = g_.Parameter("w", {{2}, DType::kF32}, Normal(1));
  Value x = g_.Input("x", {{2}, DType::kF32});
  Check(SumAll(g_.Op("mul", {g_.Op("pick", {w, Value()}), x})), 1, {{"x", {{1, 2}}}},
        {{"w", {0.3, 0.7}}});
}

TEST_F(AutodiffTest, AnUnusedTargetHasNoGradient) {
  Value w = g_.Parameter("w", {{2}, DType::kF32}, Normal(1));
  Value u = g_.Parameter("u", {{2}, DType::kF32}, Normal(1));
  auto gradients = Differentiate(g_, SumAll(g_.Op("square", {w})), {u, w});
  ASSERT_TRUE(gradients.ok()) << gradients.status();
  EXPECT_FALSE((*gradients)[0]);
  EXPECT_TRUE((*gradients)[1]);
}

// Reports and errors tell by the name which layer a gradient belongs to.
TEST_F(AutodiffTest, GradientsAreNamedAfterWhatTheyAreOf) {
  Value x = g_.Input("x", {{2, 3}, DType::kF32});
  Value w, h;
  {
    const GraphBuilder::Scope layer(g_, "layers.3");
    const GraphBuilder::Scope mlp(g_, "mlp");
    w = g_.Parameter("w", {{3, 2}, DType::kF32}, Normal(1));
    h = g_.Op("matmul", {x, w});
  }
  const auto gradients = Differentiate(g_, SumAll(g_.Op("square", {h})), {w});
  ASSERT_TRUE(gradients.ok()) << gradients.status();
  const Graph& graph = g_.graph();
  EXPECT_EQ(graph.info((*gradients)[0]).name, "grad.layers.3.mlp.w");
  const Node& summed = graph.nodes[graph.info((*gradients)[0]).node];
  EXPECT_THAT(graph.info(summed.inputs[0]).name, ::testing::StartsWith("grad.layers.3.mlp."));
}

TEST_F(AutodiffTest, TheLossMustBeAFloatScalar) {
  Value w = g_.Parameter("w", {{2}, DType::kF32}, Normal(1));
  EXPECT_FALSE(Differentiate(g_, w, {w}).ok());
  EXPECT_FALSE(Differentiate(g_, Value(), {w}).ok());
  Value n = g_.Input("n", {{}, DType::kI32});
  EXPECT_FALSE(Differentiate(g_, n, {w}).ok());
}

TEST_F(AutodiffTest, AnOpWithoutGradientIsNamed) {
  Value w = g_.Parameter("w", {{2}, DType::kF32}, Normal(1));
  auto gradients = Differentiate(g_, SumAll(g_.Op("floor", {w}, {}, "rounded")), {w});
  ASSERT_FALSE(gradients.ok());
  EXPECT_EQ(gradients.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(gradients.status().message()), HasSubstr("'rounded' (floor)"));
}

TEST_F(AutodiffTest, AnOpWithoutGradientOffTheWayIsFine) {
  Value w = g_.Parameter("w", {{2}, DType::kF32}, Normal(1));
  Value x = g_.Input("x", {{2}, DType::kF32});
  Check(SumAll(g_.Op("mul", {w, g_.Op("floor", {x})})), 1, {{"x", {{1.5, 2.5}}}},
        {{"w", {0.3, 0.7}}});
}

}  // namespace
}  // namespace weft
