#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/dense_run.h"

namespace weft::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// x [b,s,h], w [v,h] and targets, of which some are padding.
std::vector<Dense> Inputs(int64_t b, int64_t s, int64_t h, int64_t v, DType dtype) {
  Dense targets = DenseOf({b, s}, DType::kI32, {});
  for (int64_t i = 0; i < b * s; ++i) {
    targets.values.push_back(i % 4 == 3 ? -1 : static_cast<double>(i * 7 % v));
  }
  return {RandomDense({b, s, h}, dtype, 1), RandomDense({v, h}, dtype, 2), targets};
}

void ExpectPlainLoops(const std::vector<Dense>& in, const std::vector<Dense>& out,
                      double tolerance) {
  const int64_t h = in[1].spec.shape[1], v = in[1].spec.shape[0];
  for (size_t row = 0; row < in[2].values.size(); ++row) {
    double sum = 0, target = 0;
    for (int64_t j = 0; j < v; ++j) {
      double logit = 0;
      for (int64_t c = 0; c < h; ++c) logit += in[0].values[row * h + c] * in[1].values[j * h + c];
      sum += std::exp(logit);
      if (in[2].values[row] == j) target = logit;
    }
    ASSERT_NEAR(out[0].values[row], std::log(sum), tolerance);
    ASSERT_NEAR(out[1].values[row], target, tolerance);
  }
}

TEST(HeadCrossEntropy, EqualsPlainLoops) {
  for (DType dtype : {DType::kF32, DType::kF64, DType::kBF16, DType::kF16}) {
    const std::vector<Dense> in = Inputs(2, 5, 6, 13, dtype);
    ExpectPlainLoops(in, RunOp("head_cross_entropy", {}, in), 1e-5);
  }
}

TEST(HeadCrossEntropy, ManyBlocksEqualPlainLoops) {
  const std::vector<Dense> in = Inputs(1, 300, 2, 4500, DType::kF32);
  ExpectPlainLoops(in, RunOp("head_cross_entropy", {}, in), 1e-5);
}

TEST(HeadCrossEntropy, PartsOfTheVocabularyCombine) {
  const std::vector<Dense> in = Inputs(2, 5, 6, 13, DType::kF64);
  const std::vector<Dense> whole = RunOp("head_cross_entropy", {}, in);
  std::vector<double> sum(10, 0.0), target(10, 0.0);
  for (const IndexSet& part : {Parts({{0, 2}, {9, 13}}), Parts({{2, 9}}), Parts({})}) {
    const std::vector<Dense> y =
        RunOp("head_cross_entropy", {}, {in[0], Cut(in[1], 0, part), in[2]});
    for (int i = 0; i < 10; ++i) {
      if (part.size() == 0) {
        EXPECT_EQ(y[0].values[i], -kInfinity);
      }
      sum[i] += std::exp(y[0].values[i]);
      target[i] += y[1].values[i];
    }
  }
  for (int i = 0; i < 10; ++i) EXPECT_NEAR(std::log(sum[i]), whole[0].values[i], 1e-12);
  ExpectClose(target, whole[1].values, 1e-12);
}

TEST(HeadCrossEntropy, TargetsBeyondTheVocabularyAreAnError) {
  std::vector<Dense> in = Inputs(2, 5, 6, 13, DType::kF32);
  in[2].values[4] = 13;
  const auto result = TryRun("head_cross_entropy", {}, in);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(result.status().message()), ::testing::HasSubstr("target 13"));
}

// Results of the gradient op for random dlse and dtarget.
struct Gradients {
  std::vector<Dense> inputs;  // of the gradient op
  std::vector<Dense> grads;
};

Gradients GradientsOf(const std::vector<Dense>& in) {
  const std::vector<Dense> y = RunOp("head_cross_entropy", {}, in);
  Gradients g;
  g.inputs = {in[0],
              in[1],
              in[2],
              y[0],
              RandomDense(y[0].spec.shape, y[0].spec.dtype, 4),
              RandomDense(y[0].spec.shape, y[0].spec.dtype, 5)};
  g.grads = RunOp("head_cross_entropy_grad", {}, g.inputs);
  return g;
}

TEST(HeadCrossEntropyGrad, EqualsFiniteDifferences) {
  const std::vector<Dense> in = Inputs(2, 3, 4, 6, DType::kF64);
  const Gradients g = GradientsOf(in);
  const auto loss = [&](const Dense& x, const Dense& w) {
    const std::vector<Dense> y = RunOp("head_cross_entropy", {}, {x, w, in[2]});
    return Inner(y[0], g.inputs[4]) + Inner(y[1], g.inputs[5]);
  };
  ExpectGradient([&](const Dense& x) { return loss(x, in[1]); }, in[0], g.grads[0]);
  ExpectGradient([&](const Dense& w) { return loss(in[0], w); }, in[1], g.grads[1]);
}

TEST(HeadCrossEntropyGrad, OtherTypesFollowF64AndAccumulate) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    SCOPED_TRACE(std::string(Name(dtype)));
    const std::vector<Dense> in = Inputs(1, 270, 3, 2100, dtype);
    const Gradients g = GradientsOf(in);
    std::vector<Dense> exact = g.inputs;
    for (int i : {0, 1, 3, 4, 5}) exact[i].spec.dtype = DType::kF64;
    const std::vector<Dense> want = RunOp("head_cross_entropy_grad", {}, exact);
    const double tolerance = dtype == DType::kF32 ? 1e-5 : 2e-2;
    ExpectClose(g.grads[0].values, want[0].values, tolerance);
    ExpectClose(g.grads[1].values, want[1].values, tolerance);
    DenseRunOptions adds;
    adds.present = {g.grads[0], RandomDense(in[1].spec.shape, dtype, 9)};
    std::vector<double> sum = want[1].values;
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += adds.present[1].values[i];
    const std::vector<Dense> added = RunOp("head_cross_entropy_grad", {}, g.inputs, adds);
    ExpectClose(added[0].values, want[0].values, tolerance);
    ExpectClose(added[1].values, sum, tolerance);
    for (int skipped : {0, 1}) {
      DenseRunOptions skip;
      skip.skip = {skipped == 0, skipped == 1};
      ExpectClose(RunOp("head_cross_entropy_grad", {}, g.inputs, skip)[1 - skipped].values,
                  g.grads[1 - skipped].values, 0);
    }
  }
}

TEST(HeadCrossEntropyGrad, PartsOfTheVocabularyAndRowsEqualTheWhole) {
  const std::vector<Dense> in = Inputs(2, 5, 6, 13, DType::kF64);
  const Gradients g = GradientsOf(in);
  std::vector<double> dx(60, 0.0);
  for (const IndexSet& part : {Parts({{0, 2}, {9, 13}}), Parts({{2, 9}}), Parts({})}) {
    std::vector<Dense> inputs = g.inputs;
    inputs[1] = Cut(in[1], 0, part);
    DenseRunOptions options;
    options.boxes = {in[0].box, inputs[1].box};
    const std::vector<Dense> y = RunOp("head_cross_entropy_grad", {}, inputs, options);
    ExpectPart(y[1], g.grads[1], 1e-12);
    for (int i = 0; i < 60; ++i) dx[i] += y[0].values[i];
  }
  ExpectClose(dx, g.grads[0].values, 1e-12);
  std::vector<double> dw(13 * 6, 0.0);
  for (const IndexSet& part : {Parts({{0, 1}, {4, 5}}), Parts({{1, 4}}), Parts({})}) {
    std::vector<Dense> inputs = g.inputs;
    for (int i : {0, 2, 3, 4, 5}) inputs[i] = Cut(g.inputs[i], 1, part);
    DenseRunOptions options;
    options.boxes = {inputs[0].box, in[1].box};
    const std::vector<Dense> y = RunOp("head_cross_entropy_grad", {}, inputs, options);
    ExpectPart(y[0], g.grads[0], 1e-12);
    for (size_t i = 0; i < dw.size(); ++i) dw[i] += y[1].values[i];
  }
  ExpectClose(dw, g.grads[1].values, 1e-12);
}

TEST(HeadCrossEntropy, ErrorsNameTheShapes) {
  const std::vector<TensorSpec> specs = {
      {{2, 3, 4}, DType::kF32}, {{7, 5}, DType::kF32}, {{2, 3}, DType::kI32}};
  EXPECT_THAT(std::string(TryInfer("head_cross_entropy", {}, specs).message()),
              ::testing::HasSubstr("f32[7,5]"));
}

TEST(TokenLoss, SumsValidTokensAndItsGradientFollows) {
  const Dense lse = RandomDense({2, 3}, DType::kF64, 1),
              logit = RandomDense({2, 3}, DType::kF64, 2);
  const Dense targets = DenseOf({2, 3}, DType::kI32, {1, -1, 0, 5, -100, 2});
  const Dense scale = DenseOf({}, DType::kF64, {0.25});
  const auto loss = [&](const Dense& x, const Dense& y) {
    return RunOp("token_loss", {}, {x, y, targets, scale})[0].values[0];
  };
  double want = 0;
  for (int i : {0, 2, 3, 5}) want += 0.25 * (lse.values[i] - logit.values[i]);
  EXPECT_NEAR(loss(lse, logit), want, 1e-14);
  const std::vector<Dense> grads =
      RunOp("token_loss_grad", {}, {DenseOf({}, DType::kF64, {1}), targets, scale});
  ExpectGradient([&](const Dense& x) { return loss(x, logit); }, lse, grads[0]);
  ExpectGradient([&](const Dense& x) { return loss(lse, x); }, logit, grads[1]);
}

TEST(TokenLoss, PartsAddUp) {
  const Dense lse = RandomDense({2, 5}, DType::kF32, 1),
              logit = RandomDense({2, 5}, DType::kF32, 2);
  const Dense targets = DenseOf({2, 5}, DType::kI32, {1, -1, 0, 5, 2, -1, -1, 3, 4, 0});
  const Dense scale = DenseOf({}, DType::kF32, {0.5});
  double sum = 0;
  for (const IndexSet& part : {Parts({{0, 1}, {3, 5}}), Parts({{1, 3}}), Parts({})}) {
    sum += RunOp("token_loss", {},
                 {Cut(lse, 1, part), Cut(logit, 1, part), Cut(targets, 1, part), scale})[0]
               .values[0];
  }
  EXPECT_NEAR(sum, RunOp("token_loss", {}, {lse, logit, targets, scale})[0].values[0], 1e-6);
}

}  // namespace
}  // namespace weft::testing
