#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/dense_run.h"

namespace weft::testing {
namespace {

struct NormCase {
  const char* op;
  bool layer;
};

class Norms : public ::testing::TestWithParam<NormCase> {
 protected:
  std::string op() const { return GetParam().op; }
  std::string grad() const { return op() + "_grad"; }
  bool layer() const { return GetParam().layer; }

  std::vector<Dense> Inputs(const Shape& shape, DType dtype) const {
    std::vector<Dense> inputs = {RandomDense(shape, dtype, 1),
                                 RandomDense({shape.back()}, dtype, 2)};
    if (layer()) inputs.push_back(RandomDense({shape.back()}, dtype, 3));
    return inputs;
  }

  // Inputs of the gradient op for inputs and results of the op.
  std::vector<Dense> GradInputs(const Dense& dy, const std::vector<Dense>& x,
                                const std::vector<Dense>& y) const {
    std::vector<Dense> inputs = {dy, x[0], x[1], y[1]};
    if (layer()) inputs.push_back(y[2]);
    return inputs;
  }
};

INSTANTIATE_TEST_SUITE_P(Norm, Norms,
                         ::testing::Values(NormCase{"rms_norm", false},
                                           NormCase{"layer_norm", true}),
                         [](const auto& info) { return std::string(info.param.op); });

TEST_P(Norms, EqualPlainLoops) {
  for (DType dtype : {DType::kF32, DType::kF64, DType::kBF16, DType::kF16}) {
    for (int64_t h : {1, 7, 16, 67}) {
      const std::vector<Dense> x = Inputs({2, 3, h}, dtype);
      const std::vector<Dense> y = RunOp(op(), {{"eps", 0.01}}, x);
      const double half = dtype == DType::kBF16 ? 2e-2 : 2.5e-3;
      const double tolerance = SizeOf(dtype) == 2 ? half : 1e-5;
      for (int64_t row = 0; row < 6; ++row) {
        double mean = 0, squares = 0;
        for (int64_t i = 0; layer() && i < h; ++i) mean += x[0].values[row * h + i] / h;
        for (int64_t i = 0; i < h; ++i) squares += std::pow(x[0].values[row * h + i] - mean, 2) / h;
        const double inv = 1 / std::sqrt(squares + 0.01);
        EXPECT_NEAR(y[layer() ? 2 : 1].values[row], inv, 1e-5 * inv);
        for (int64_t i = 0; i < h; ++i) {
          const double want = (x[0].values[row * h + i] - mean) * inv * x[1].values[i] +
                              (layer() ? x[2].values[i] : 0);
          EXPECT_NEAR(y[0].values[row * h + i], want, tolerance);
        }
      }
    }
  }
}

TEST_P(Norms, GradientsEqualFiniteDifferences) {
  const std::vector<Dense> x = Inputs({2, 2, 5}, DType::kF64);
  const Dense dy = RandomDense({2, 2, 5}, DType::kF64, 4);
  const std::vector<Dense> grads = RunOp(grad(), {}, GradInputs(dy, x, RunOp(op(), {}, x)));
  for (size_t i = 0; i < x.size(); ++i) {
    ExpectGradient(
        [&](const Dense& moved) {
          std::vector<Dense> inputs = x;
          inputs[i] = moved;
          return Inner(RunOp(op(), {}, inputs)[0], dy);
        },
        x[i], grads[i]);
  }
}

TEST_P(Norms, PartsOfTheRowsEqualTheWhole) {
  const std::vector<Dense> x = Inputs({2, 7, 9}, DType::kF32);
  const Dense dy = RandomDense({2, 7, 9}, DType::kF32, 4);
  const std::vector<Dense> y = RunOp(op(), {}, x);
  const std::vector<Dense> grads = RunOp(grad(), {}, GradInputs(dy, x, y));
  // Weight gradients add up over the parts, as over microbatches.
  DenseRunOptions options;
  for (const Dense& g : grads) options.present.push_back(g);
  for (Dense& g : options.present) std::fill(g.values.begin(), g.values.end(), 0.0);
  for (const IndexSet& part : {Parts({{0, 1}, {4, 7}}), Parts({}), Parts({{1, 4}})}) {
    std::vector<Dense> cut = x, cut_y;
    cut[0] = Cut(x[0], 1, part);
    DenseRunOptions forward;
    for (const Dense& result : y) forward.boxes.push_back(Cut(result, 1, part).box);
    cut_y = RunOp(op(), {}, cut, forward);
    for (size_t i = 0; i < y.size(); ++i) ExpectPart(cut_y[i], y[i], 0);
    options.boxes = {cut[0].box, x[1].box};
    if (layer()) options.boxes.push_back(x[1].box);
    options.present[0] = cut[0];
    const std::vector<Dense> part_grads =
        RunOp(grad(), {}, GradInputs(Cut(dy, 1, part), cut, cut_y), options);
    ExpectPart(part_grads[0], grads[0], 1e-6);
    for (size_t i = 1; i < grads.size(); ++i) options.present[i] = part_grads[i];
  }
  for (size_t i = 1; i < grads.size(); ++i) {
    ExpectClose(options.present[i].values, grads[i].values, 1e-5);
  }
}

TEST_P(Norms, UnreadResultsAreSkipped) {
  const std::vector<Dense> x = Inputs({3, 5}, DType::kBF16);
  DenseRunOptions options;
  options.skip = {false, true, true};
  const std::vector<Dense> y = RunOp(op(), {}, x);
  EXPECT_EQ(RunOp(op(), {}, x, options)[0].values, y[0].values);
  options.skip = {true, false, false};
  const std::vector<Dense> inputs = GradInputs(x[0], x, y);
  EXPECT_EQ(RunOp(grad(), {}, inputs, options)[1].values, RunOp(grad(), {}, inputs)[1].values);
}

TEST_P(Norms, WrongWeightsAreAnError) {
  std::vector<TensorSpec> specs = {{{2, 3}, DType::kF32}, {{2}, DType::kF32}};
  if (layer()) specs.push_back(specs[1]);
  EXPECT_THAT(std::string(TryInfer(op(), {}, specs).message()), ::testing::HasSubstr("f32[3]"));
}

}  // namespace
}  // namespace weft::testing
