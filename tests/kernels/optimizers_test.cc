// Optimizers against published-form vectors (w0[k] = sin(k+1), g_t[k] = cos(0.1 t (k+1)), k
// = 12..15, lr 0.01, betas 0.9 and 0.999, eps 1e-6, decay 0.01), made in 60-digit arithmetic
// elsewhere.
#include <cmath>
#include <limits>
#include <utility>

#include "gtest/gtest.h"
#include "kernels/op_list.h"
#include "tests/support/host_tensor.h"

namespace weft::testing {
namespace {

const OpRegistry& Ops() {
  static const OpRegistry* ops = [] {
    auto* made = new OpRegistry;
    DefineSgd(*made);
    DefineAdamW(*made);
    DefineLamb(*made);
    DefineSumSquares(*made);
    DefineClipScale(*made);
    DefineLossScaleUpdate(*made);
    return made;
  }();
  return *ops;
}

std::vector<HostTensor> RunOptimizer(const char* name, const Attrs& attrs,
                                     const std::vector<HostTensor>& inputs) {
  const OpDef& op = *Ops().Find(name);
  auto results = RunKernel(op, Completed(op, attrs), inputs);
  EXPECT_TRUE(results.ok()) << results.status();
  return results.ok() ? *std::move(results) : std::vector<HostTensor>(4);
}

HostTensor Scalar(double value, DType dtype = DType::kF32) { return Whole({{}, dtype}, {value}); }

HostTensor Parameter() {
  HostTensor p = Whole({{4}, DType::kF64}, {0, 0, 0, 0});
  for (int i = 0; i < 4; ++i) p.values[i] = std::sin(12 + i + 1);
  return p;
}

HostTensor Gradient(int step) {
  HostTensor g = Whole({{4}, DType::kF64}, {0, 0, 0, 0});
  for (int i = 0; i < 4; ++i) g.values[i] = std::cos(0.1 * step * (12 + i + 1));
  return g;
}

// The learning rate is an f32 scalar, so that 0.01 itself is off by 2e-8.
void ExpectValues(const HostTensor& got, const std::vector<double>& want) {
  ASSERT_EQ(got.values.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got.values[i], want[i], 1e-8) << i;
}

HostTensor LambSteps(bool bias_correction, int steps) {
  HostTensor p = Parameter(), m = p, v = p;
  m.values = v.values = {0, 0, 0, 0};
  for (int t = 1; t <= steps; ++t) {
    auto update = RunOptimizer("lamb_update", {{"bias_correction", bias_correction}},
                               {p, m, v, Gradient(t), Scalar(t), Scalar(1)});
    m = update[0], v = update[1];
    p = RunOptimizer("lamb_apply", {},
                     {p, update[2], RunOptimizer("sum_squares", {}, {p})[0],
                      RunOptimizer("sum_squares", {}, {update[2]})[0], Scalar(0.01)})[0];
  }
  return p;
}

TEST(Optimizers, LambIsTheFinalForm) {
  ExpectValues(LambSteps(true, 1),
               {0.41372866018868076, 0.9841324192474715, 0.6438347760802413, -0.28147361566352597});
  ExpectValues(LambSteps(true, 2),
               {0.418722089633939, 0.9900813862953882, 0.65061640083465, -0.27392186865131346});
  EXPECT_NEAR(LambSteps(true, 10).values[0], 0.4404029650700046, 1e-7);
}

TEST(Optimizers, LambWithoutCorrectionIsVersionThree) {
  ExpectValues(LambSteps(false, 2),
               {0.41872030952557404, 0.9901433141063952, 0.6506356530567492, -0.273969070355017});
  EXPECT_NEAR(LambSteps(false, 10).values[0], 0.4408028179274902, 1e-7);
}

TEST(Optimizers, LambRatioIsOneWhereANormIsZero) {
  const HostTensor zero = Whole({{2}, DType::kF32}, {0, 0});
  const HostTensor u = Whole({{2}, DType::kF32}, {1, 2});
  const HostTensor p = RunOptimizer(
      "lamb_apply", {}, {zero, u, Scalar(0, DType::kF64), Scalar(5, DType::kF64), Scalar(0.5)})[0];
  EXPECT_EQ(p.values, (std::vector<double>{-0.5, -1}));
}

TEST(Optimizers, AdamWFollowsItsFormula) {
  HostTensor p = Parameter(), m = p, v = p;
  m.values = v.values = {0, 0, 0, 0};
  for (int t = 1; t <= 2; ++t) {
    auto r = RunOptimizer("adamw", {{"eps", 1e-6}, {"weight_decay", 0.01}},
                          {p, m, v, Gradient(t), Scalar(0.01), Scalar(t), Scalar(1)});
    p = r[0], m = r[1], v = r[2];
  }
  ExpectValues(p,
               {0.4151918377919825, 0.9865446411130184, 0.6471040677523813, -0.2702130954675036});
  ExpectValues(v, {0.0008057424033424002, 0.0009166428800911312, 0.0009850838912732615,
                   0.000997444218869618});
}

// The vector form in f32 (odd length: with a tail), with f32, bf16 and f16 gradients, against f64.
TEST(Optimizers, AdamWInSinglePrecisionAgrees) {
  for (DType grad : {DType::kF32, DType::kBF16, DType::kF16}) {
    std::vector<HostTensor> wide, narrow;
    for (int i = 0; i < 4; ++i) {
      wide.push_back(Sixteenths({{1003}, DType::kF64}, i, i == 2 ? 0.5 : -2, 2));
      narrow.push_back(wide.back());
      narrow.back().spec.dtype = i == 3 ? grad : DType::kF32;
    }
    for (auto* inputs : {&wide, &narrow}) {
      for (double s : {0.1, 7.0, 0.5}) inputs->push_back(Scalar(s));
    }
    const auto want = RunOptimizer("adamw", {{"weight_decay", 0.1}}, wide);
    const auto got = RunOptimizer("adamw", {{"weight_decay", 0.1}}, narrow);
    for (int o = 0; o < 3; ++o) {
      for (size_t i = 0; i < 1003; ++i) {
        ASSERT_NEAR(got[o].values[i], want[o].values[i], 3e-6) << o << " " << i;
      }
    }
  }
}

// The bits of sum_squares, of tensors of no, one and several tiles.
TEST(Optimizers, AdamWSumsTheSquaresOfTheGradient) {
  for (const auto& [param, grad] : {std::pair(DType::kF64, DType::kF64),
                                    {DType::kF32, DType::kF32},
                                    {DType::kF32, DType::kBF16},
                                    {DType::kF32, DType::kF16}}) {
    for (int64_t n : {0, 1, 1003, 4096, 8192, 20001}) {
      HostTensor g = Sixteenths({{n}, grad}, 5, -2, 2);
      if (SizeOf(grad) > 2) {
        for (size_t i = 0; i < g.values.size(); ++i) {  // whose squares are rounded
          g.values[i] = static_cast<float>(g.values[i] + 1.0 / static_cast<double>(i + 3));
        }
      }
      const HostTensor p = Sixteenths({{n}, param}, 6), v = Sixteenths({{n}, param}, 7, 0.5, 2);
      const auto got = RunOptimizer("adamw", {}, {p, p, v, g, Scalar(0.1), Scalar(3), Scalar(0.5)});
      const auto want = RunOptimizer("sum_squares", {}, {g});
      EXPECT_EQ(got[3].spec, (TensorSpec{{}, DType::kF64}));
      EXPECT_EQ(got[3].values, want[0].values) << std::string(Name(grad)) << " " << n;
    }
  }
}

TEST(Optimizers, SgdFollowsItsFormula) {
  const HostTensor p = Whole({{1}, DType::kF64}, {2}), mu = Whole({{1}, DType::kF64}, {0.5});
  const HostTensor g = Whole({{1}, DType::kF64}, {4});
  const std::vector<HostTensor> inputs = {p, mu, g, Scalar(0.25), Scalar(0.5)};
  // g' = 4/2 + 0.5*2 = 3; mu' = 0.5*0.5 + 3 = 3.25.
  const Attrs plain{{"momentum", 0.5}, {"weight_decay", 0.5}};
  EXPECT_EQ(RunOptimizer("sgd", plain, inputs)[0].values[0], 2 - 0.25 * 3.25);
  EXPECT_EQ(RunOptimizer("sgd", plain, inputs)[1].values[0], 3.25);
  const Attrs nesterov{{"momentum", 0.5}, {"weight_decay", 0.5}, {"nesterov", true}};
  EXPECT_EQ(RunOptimizer("sgd", nesterov, inputs)[0].values[0], 2 - 0.25 * (3 + 0.5 * 3.25));
}

TEST(Optimizers, ClipScaleLimitsTheNorm) {
  auto scale = [](double sum_sq, double max_norm) {
    return RunOptimizer("clip_scale", {{"max_norm", max_norm}}, {Scalar(sum_sq, DType::kF64)})[0]
        .values[0];
  };
  EXPECT_NEAR(scale(100, 1), 0.1, 1e-7);
  EXPECT_EQ(scale(0.25, 1), 1);
  EXPECT_EQ(scale(100, 0), 1);
  EXPECT_EQ(RunOptimizer("clip_scale", {}, {Scalar(6.25, DType::kF64)})[1].values[0], 2.5);
}

TEST(Optimizers, ClipScaleTakesTheLossScaleOut) {
  const auto run = [](double max_norm) {
    return RunOptimizer("clip_scale", {{"max_norm", max_norm}},
                        {Scalar(100 * 64, DType::kF64), Scalar(8)});
  };
  EXPECT_EQ(run(0)[0].values[0], 1.0 / 8);
  EXPECT_EQ(run(0)[1].values[0], 10);
  EXPECT_NEAR(run(1)[0].values[0], 0.1 / 8, 1e-8);
  EXPECT_EQ(run(1)[1].values[0], 10);
}

// A skipped step changes nothing, whatever the gradient and the other scalars are.
TEST(Optimizers, WhatIsSkippedStaysBitForBit) {
  const double infinity = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const HostTensor p = Sixteenths({{1003}, DType::kF32}, 1),
                   m = Sixteenths({{1003}, DType::kF32}, 2),
                   v = Sixteenths({{1003}, DType::kF32}, 3, 0.5, 2);
  const HostTensor skip = Scalar(1), lr = Scalar(0.1), step = Scalar(0), clip = Scalar(nan);
  const HostTensor sq = Scalar(nan, DType::kF64);
  HostTensor g = Sixteenths({{1003}, DType::kF16}, 4);
  g.values[5] = infinity;
  g.values[7] = nan;
  const auto adamw = RunOptimizer("adamw", {}, {p, m, v, g, lr, step, clip, skip});
  EXPECT_EQ(adamw[0].values, p.values);
  EXPECT_EQ(adamw[1].values, m.values);
  EXPECT_EQ(adamw[2].values, v.values);
  EXPECT_FALSE(std::isfinite(adamw[3].values[0]));
  const auto sgd = RunOptimizer("sgd", {}, {p, m, g, lr, clip, skip});
  EXPECT_EQ(sgd[0].values, p.values);
  EXPECT_EQ(sgd[1].values, m.values);
  const auto lamb = RunOptimizer("lamb_update", {}, {p, m, v, g, step, clip, skip});
  EXPECT_EQ(lamb[0].values, m.values);
  EXPECT_EQ(lamb[1].values, v.values);
  EXPECT_EQ(RunOptimizer("lamb_apply", {}, {p, lamb[2], sq, sq, lr, skip})[0].values, p.values);
}

TEST(Optimizers, AStepThatIsNotSkippedIsAsWithoutTheOperand) {
  const HostTensor p = Sixteenths({{1003}, DType::kF32}, 1),
                   v = Sixteenths({{1003}, DType::kF32}, 3, 0.5, 2);
  std::vector<HostTensor> inputs = {p, p, v, p, Scalar(0.1), Scalar(3), Scalar(0.5)};
  const auto want = RunOptimizer("adamw", {}, inputs);
  inputs.push_back(Scalar(0));
  const auto got = RunOptimizer("adamw", {}, inputs);
  for (int o = 0; o < 4; ++o) EXPECT_EQ(got[o].values, want[o].values) << o;
}

TEST(Optimizers, LossScaleFollowsWhatOverflows) {
  double scale = 1024, good = 0, updates = 0;
  bool fixed = false;
  const auto run = [&](double sum_sq) {
    const auto next = RunOptimizer(
        "loss_scale_update", {{"growth_every", int64_t{3}}, {"most", 4096.0}, {"fixed", fixed}},
        {Scalar(scale), Scalar(good), Scalar(updates), Scalar(sum_sq, DType::kF64)});
    scale = next[0].values[0], good = next[1].values[0], updates = next[2].values[0];
    return next[3].values[0] != 0;
  };
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(run(infinity));
  EXPECT_TRUE(run(std::nan("")));
  EXPECT_EQ(scale, 256);
  for (double want : {256, 256, 512}) {
    EXPECT_FALSE(run(9));
    EXPECT_EQ(scale, want);
  }
  EXPECT_EQ(good, 0);
  // What is skipped begins the count anew.
  EXPECT_FALSE(run(9));
  EXPECT_TRUE(run(infinity));
  EXPECT_EQ(scale, 256);
  EXPECT_EQ(good, 0);
  EXPECT_EQ(updates, 4);
  for (int i = 0; i < 30; ++i) EXPECT_FALSE(run(0));
  EXPECT_EQ(scale, 4096) << "it grows to the most";
  for (int i = 0; i < 30; ++i) EXPECT_TRUE(run(infinity));
  EXPECT_EQ(scale, 1) << "and falls to 1";
  fixed = true;
  scale = 1024;
  EXPECT_TRUE(run(infinity));
  EXPECT_EQ(scale, 1024);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(run(9));
  EXPECT_EQ(scale, 1024);
  EXPECT_EQ(updates, 39);
}

TEST(Optimizers, ParametersAreNeverBF16) {
  const OpDef& op = *Ops().Find("adamw");
  const TensorSpec p{{4}, DType::kBF16}, s{{}, DType::kF32};
  const std::vector<TensorSpec> specs = {p, p, p, p, s, s, s};
  const Attrs attrs = Completed(op, {});
  const absl::Status status = op.infer(InferContext{specs, attrs}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("bf16[4]"), std::string::npos) << status;
}

}  // namespace
}  // namespace weft::testing
