// Convolutions: values by hand, oneDNN's against plain loops over realistic shapes, and errors.
#include "gtest/gtest.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/kernels/dense_run.h"

namespace weft::testing {
namespace {

using Ints = std::vector<int64_t>;

TEST(Conv2d, ValuesByHand) {
  const Dense x = DenseOf({1, 1, 3, 3}, DType::kF32, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  const Dense w = DenseOf({1, 1, 2, 2}, DType::kF32, {1, 10, 100, 1000});
  // y[i,j] = x[i,j] + 10 x[i,j+1] + 100 x[i+1,j] + 1000 x[i+1,j+1]: a cross-correlation.
  EXPECT_EQ(RunOp("conv2d", {}, {x, w})[0].values, (std::vector<double>{5421, 6532, 8754, 9865}));
  EXPECT_EQ(RunOp("conv2d", {{"stride", Ints{2, 2}}, {"padding", Ints{1, 1}}}, {x, w})[0].values,
            (std::vector<double>{1000, 3200, 7040, 9865}));
  EXPECT_EQ(RunOp("conv2d", {{"dilation", Ints{2, 2}}}, {x, w})[0].values,
            (std::vector<double>{9731}));
}

TEST(Conv2d, GroupsSeeOnlyTheirChannels) {
  const Dense x = DenseOf({1, 4, 1, 1}, DType::kF32, {1, 2, 3, 4});
  const Dense w = DenseOf({2, 2, 1, 1}, DType::kF32, {1, 10, 100, 1000});
  EXPECT_EQ(RunOp("conv2d", {{"groups", int64_t{2}}}, {x, w})[0].values,
            (std::vector<double>{21, 4300}));
  Dense last = x;
  last.spec.shape = {1, 1, 1, 4};
  last.box = Box::Whole(last.spec.shape);
  EXPECT_EQ(RunOp("conv2d", {{"groups", int64_t{2}}, {"format", std::string("NHWC")}}, {last, w})[0]
                .values,
            (std::vector<double>{21, 4300}));
}

Dense As(Dense x, DType dtype) {
  x.spec.dtype = dtype;
  return x;
}

// f64 is computed by plain loops, f32 and bf16 by oneDNN in formats of its own.
TEST(Conv2d, DnnlEqualsPlainLoops) {
  struct Case {
    const char* format;
    int64_t channels, filters, groups;
    Ints stride, padding, dilation;
    Ints kernel;
  };
  const Case cases[] = {
      {"NCHW", 16, 32, 1, {1, 1}, {1, 1}, {1, 1}, {3, 3}},
      {"NHWC", 16, 24, 1, {2, 2}, {1, 1}, {1, 1}, {3, 3}},
      {"NHWC", 16, 32, 4, {1, 2}, {0, 1}, {1, 1}, {1, 3}},
      {"NCHW", 32, 32, 32, {1, 1}, {2, 2}, {2, 2}, {3, 3}},
      {"NCHW", 3, 17, 1, {2, 2}, {3, 3}, {1, 1}, {7, 7}},
  };
  for (const Case& c : cases) {
    const bool last = std::string(c.format) == "NHWC";
    Attrs attrs{{"format", std::string(c.format)},
                {"groups", c.groups},
                {"stride", c.stride},
                {"padding", c.padding},
                {"dilation", c.dilation}};
    SCOPED_TRACE(attrs.ToString());
    const Dense x = RandomDense(last ? Shape{2, 13, 11, c.channels} : Shape{2, c.channels, 13, 11},
                                DType::kBF16, 1);
    const Dense w =
        RandomDense({c.filters, c.channels / c.groups, c.kernel[0], c.kernel[1]}, DType::kBF16, 2);
    const Dense wide_x = As(x, DType::kF64), wide_w = As(w, DType::kF64);
    const Dense y = RunOp("conv2d", attrs, {wide_x, wide_w})[0];
    const Dense dy = RandomDense(y.spec.shape, DType::kBF16, 3);
    Attrs data = attrs, weights = attrs;
    data.Set("size", Ints{13, 11});
    weights.Set("kernel", c.kernel);
    const Dense wide_dy = As(dy, DType::kF64);
    const Dense dx = RunOp("conv2d_data_grad", data, {wide_dy, wide_w})[0];
    const Dense dw = RunOp("conv2d_weight_grad", weights, {wide_x, wide_dy})[0];
    for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      // Sums of hundreds of products of size 1; bf16 rounds the result to 8 bits, f16 to 11.
      const double tolerance = dtype == DType::kF32 ? 1e-4 : dtype == DType::kF16 ? 0.005 : 0.04;
      const Dense lx = As(x, dtype), lw = As(w, dtype), ldy = As(dy, dtype);
      ExpectClose(RunOp("conv2d", attrs, {lx, lw})[0].values, y.values, tolerance);
      ExpectClose(RunOp("conv2d_data_grad", data, {ldy, lw})[0].values, dx.values, tolerance);
      ExpectClose(RunOp("conv2d_weight_grad", weights, {lx, ldy})[0].values, dw.values, tolerance);
    }
  }
}

TEST(Conv2d, ErrorsNameWhatDoesNotFit) {
  const auto error = [](Attrs attrs, Shape x, Shape w) {
    return std::string(TryInfer("conv2d", attrs, {{x, DType::kF32}, {w, DType::kF32}}).message());
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(error({}, {1, 3, 5, 5}, {4, 2, 3, 3}), HasSubstr("w must have 3 channels"));
  EXPECT_THAT(error({{"groups", int64_t{2}}}, {1, 3, 5, 5}, {4, 2, 3, 3}),
              HasSubstr("groups = 2 must divide"));
  EXPECT_THAT(error({}, {1, 3, 5, 2}, {4, 3, 3, 3}), HasSubstr("reaches over 3"));
  EXPECT_THAT(error({{"stride", Ints{0, 1}}}, {1, 3, 5, 5}, {4, 3, 3, 3}),
              HasSubstr("stride must be two numbers"));
  EXPECT_THAT(error({{"format", std::string("CHWN")}}, {1, 3, 5, 5}, {4, 3, 3, 3}),
              HasSubstr("\"NHWC\""));
  EXPECT_THAT(error({{"groups", int64_t{0}}}, {1, 3, 5, 5}, {4, 3, 3, 3}),
              HasSubstr("groups must be at least 1"));
}

}  // namespace
}  // namespace weft::testing
