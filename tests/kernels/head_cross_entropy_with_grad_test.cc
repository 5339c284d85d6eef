// Beside the op laws: several blocks of rows, padding, a row that brings nothing, edges and errors.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/dense_run.h"

namespace weft::testing {
namespace {

constexpr char kOp[] = "head_cross_entropy_with_grad";

// x [1,s,h], w [v,h], targets of which some are padding, dlse and dtarget; both are 0 for padding,
// as the loss has it.
std::vector<Dense> Inputs(int64_t s, int64_t h, int64_t v, DType dtype) {
  const DType wide = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  std::vector<Dense> in = {RandomDense({1, s, h}, dtype, 1), RandomDense({v, h}, dtype, 2),
                           DenseOf({1, s}, DType::kI32, {}), RandomDense({1, s}, wide, 4),
                           RandomDense({1, s}, wide, 5)};
  for (int64_t i = 0; i < s; ++i) {
    const bool padding = i % 4 == 3;
    in[2].values.push_back(padding ? -1 : static_cast<double>(i * 7 % v));
    if (padding) in[3].values[i] = in[4].values[i] = 0;
  }
  return in;
}

// lse, target_logit, dx and dw of the two ops that it stands for, in f64.
std::vector<Dense> Separately(std::vector<Dense> in) {
  for (int i : {0, 1, 3, 4}) in[i].spec.dtype = DType::kF64;
  std::vector<Dense> y = RunOp("head_cross_entropy", {}, {in[0], in[1], in[2]});
  const std::vector<Dense> grads =
      RunOp("head_cross_entropy_grad", {}, {in[0], in[1], in[2], y[0], in[3], in[4]});
  y.insert(y.end(), grads.begin(), grads.end());
  return y;
}

TEST(HeadCrossEntropyWithGrad, BlocksOfRowsEqualTheTwoOpsAndAccumulate) {
  for (DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    SCOPED_TRACE(std::string(Name(dtype)));
    const std::vector<Dense> in = Inputs(530, 3, 1030, dtype);
    const std::vector<Dense> want = Separately(in), got = RunOp(kOp, {}, in);
    const double statistic = dtype == DType::kF64 ? 1e-12 : 1e-5;
    const double half = dtype == DType::kBF16 ? 2e-2 : 2.5e-3;
    const double tolerance = SizeOf(dtype) == 2 ? half : statistic;
    for (int i : {0, 1}) ExpectClose(got[i].values, want[i].values, statistic);
    for (int i : {2, 3}) ExpectClose(got[i].values, want[i].values, tolerance);
    DenseRunOptions adds;
    adds.present = {got[0], got[1], got[2], RandomDense(in[1].spec.shape, dtype, 9)};
    std::vector<double> sum = want[3].values;
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += adds.present[3].values[i];
    const std::vector<Dense> added = RunOp(kOp, {}, in, adds);
    ExpectClose(added[2].values, want[2].values, tolerance);
    ExpectClose(added[3].values, sum, tolerance);
  }
}

// Padding gives no gradient even where its logits overflow.
TEST(HeadCrossEntropyWithGrad, PaddingGivesNothingWhateverItsLogits) {
  std::vector<Dense> in = Inputs(8, 3, 11, DType::kF32);
  const std::vector<Dense> want = RunOp(kOp, {}, in);
  for (int h = 0; h < 3; ++h) in[0].values[3 * 3 + h] = 0;
  in[0].values[3 * 3] = 3e38;
  for (int v = 0; v < 11; ++v) in[1].values[v * 3] *= 64;
  const std::vector<Dense> got = RunOp(kOp, {}, in);
  for (int h = 0; h < 3; ++h) EXPECT_EQ(got[2].values[3 * 3 + h], 0);
  for (double dw : got[3].values) EXPECT_TRUE(std::isfinite(dw));
  EXPECT_EQ(got[1].values[3], 0);
  EXPECT_EQ(want[1].values[3], 0);
}

TEST(HeadCrossEntropyWithGrad, NothingToDo) {
  // A rank without rows has zeros to add to dw; without a vocabulary, the probability is nowhere.
  std::vector<Dense> rows = RunOp(kOp, {}, Inputs(0, 3, 11, DType::kF32));
  EXPECT_EQ(rows[3].values, std::vector<double>(33, 0.0));
  std::vector<Dense> in = Inputs(4, 3, 11, DType::kF32);
  in[1] = RandomDense({0, 3}, DType::kF32, 2);
  in[2].values = {-1, -1, -1, -1};
  const std::vector<Dense> empty = RunOp(kOp, {}, in);
  EXPECT_EQ(empty[0].values, std::vector<double>(4, -std::numeric_limits<double>::infinity()));
  EXPECT_EQ(empty[2].values, std::vector<double>(12, 0.0));
}

TEST(HeadCrossEntropyWithGrad, ErrorsNameTargetsAndShapes) {
  std::vector<Dense> in = Inputs(5, 6, 13, DType::kF32);
  in[2].values[4] = 13;
  const auto result = TryRun(kOp, {}, in);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(result.status().message()),
              ::testing::HasSubstr("head_cross_entropy: target 13"));
  const TensorSpec x{{2, 3, 4}, DType::kBF16}, w{{7, 4}, DType::kBF16}, ids{{2, 3}, DType::kI32};
  const TensorSpec rows{{2, 3}, DType::kF32}, narrow{{2, 3}, DType::kBF16};
  EXPECT_THAT(std::string(TryInfer(kOp, {}, {x, w, ids, rows, narrow}).message()),
              ::testing::HasSubstr("dlse and dtarget must be f32[2,3], got bf16[2,3]"));
}

}  // namespace
}  // namespace weft::testing
