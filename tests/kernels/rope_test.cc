#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/dense_run.h"

namespace weft::testing {
namespace {

std::vector<double> PlainLoops(const Dense& x, double theta, bool interleaved) {
  const Shape& shape = x.spec.shape;
  const int64_t d = shape[3], half = d / 2;
  std::vector<double> y(x.values.size());
  for (int64_t row = 0; row < shape[0] * shape[1] * shape[2]; ++row) {
    const int64_t position = row / shape[2] % shape[1];
    for (int64_t i = 0; i < half; ++i) {
      const double angle = position * std::pow(theta, -2.0 * i / d);
      const int64_t first = row * d + (interleaved ? 2 * i : i);
      const int64_t second = interleaved ? first + 1 : first + half;
      y[first] = x.values[first] * std::cos(angle) - x.values[second] * std::sin(angle);
      y[second] = x.values[first] * std::sin(angle) + x.values[second] * std::cos(angle);
    }
  }
  return y;
}

TEST(Rope, EqualsPlainLoops) {
  for (bool interleaved : {false, true}) {
    const Attrs attrs = {{"theta", 500.0}, {"interleaved", interleaved}};
    for (int64_t d : {0, 2, 6, 64, 70}) {
      const Dense x = RandomDense({2, 9, 3, d}, DType::kF32, 1);
      ExpectClose(RunOp("rope", attrs, {x})[0].values, PlainLoops(x, 500, interleaved), 1e-6);
      const Dense y = RandomDense({2, 9, 3, d}, DType::kBF16, 1);
      ExpectClose(RunOp("rope", attrs, {y})[0].values, PlainLoops(y, 500, interleaved), 1e-2);
    }
  }
}

TEST(Rope, InverseIsTheTransposeAndUndoes) {
  const Dense x = RandomDense({1, 5, 2, 4}, DType::kF64, 1);
  const Dense w = RandomDense({1, 5, 2, 4}, DType::kF64, 2);
  const Dense dx = RunOp("rope", {{"inverse", true}}, {w})[0];
  ExpectGradient([&](const Dense& z) { return Inner(RunOp("rope", {}, {z})[0], w); }, x, dx);
  ExpectClose(RunOp("rope", {{"inverse", true}}, RunOp("rope", {}, {x}))[0].values, x.values, 1e-14);
}

TEST(Rope, PartsTurnByTheirLogicalPositions) {
  const Dense x = RandomDense({2, 11, 3, 4}, DType::kF32, 1);
  const Dense whole = RunOp("rope", {}, {x})[0];
  for (const IndexSet& part : {Parts({{0, 2}, {8, 11}}), Parts({{2, 8}}), Parts({})}) {
    const Dense cut = Cut(x, 1, part);
    DenseRunOptions options;
    options.boxes = {cut.box};
    ExpectPart(RunOp("rope", {}, {cut}, options)[0], whole, 0);
  }
}

TEST(Rope, OddHeadIsAnError) {
  EXPECT_THAT(std::string(TryInfer("rope", {}, {{{1, 2, 3, 5}, DType::kF32}}).message()),
              ::testing::HasSubstr("f32[1,2,3,5]"));
}

}  // namespace
}  // namespace weft::testing
