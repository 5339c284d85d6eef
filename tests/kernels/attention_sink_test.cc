// Sinks against plain arithmetic, against a key that is really there, and where numbers are
// extreme.
#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/plain_attention.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(AttentionSink, EqualsPlainLoops) {
  for (const auto& [dtype, tolerance] :
       {std::pair(DType::kF64, 1e-14), std::pair(DType::kF32, 1e-6),
        std::pair(DType::kBF16, 4e-3)}) {
    const DType wide = dtype == DType::kF64 ? dtype : DType::kF32;
    const Dense o = RandomDense({2, 5, 3, 4}, dtype, 1), lse = RandomDense({2, 5, 3}, wide, 2);
    for (DType of_sink : {dtype, wide}) {
      const Dense sink = RandomDense({3}, of_sink, 3);
      const auto y = RunOp("attention_sink", {}, {o, lse, sink});
      for (size_t row = 0; row < lse.values.size(); ++row) {
        const double keys = std::exp(lse.values[row]), both = keys + std::exp(sink.values[row % 3]);
        EXPECT_NEAR(y[1].values[row], std::log(both), 1e-6);
        for (size_t c = 4 * row; c < 4 * row + 4; ++c) {
          EXPECT_NEAR(y[0].values[c], o.values[c] * keys / both, tolerance);
        }
      }
    }
  }
}

// A key of zeros with a value of zeros, seen by every row, is a sink of 0.
TEST(AttentionSink, IsAKeyWithoutValue) {
  AttentionProblem p{.s = 4, .t = 4, .heads = 2, .kv_heads = 2, .d = 3, .dv = 3};
  AttentionInputs x = RandomAttention(p, DType::kF64);
  std::fill_n(x.k.values.begin(), 6, 0.0);
  std::fill_n(x.v.values.begin(), 6, 0.0);
  const IndexSet rest = Parts({{1, 4}});
  const auto whole = RunOp("attention", {}, {x.q, x.k, x.v});
  const auto part = RunOp("attention", {}, {x.q, Cut(x.k, 1, rest), Cut(x.v, 1, rest)});
  const auto y = RunOp("attention_sink", {}, {part[0], part[1], DenseOf({2}, DType::kF64, {0, 0})});
  ExpectClose(y[0].values, whole[0].values, 1e-14);
  ExpectClose(y[1].values, whole[1].values, 1e-14);
}

TEST(AttentionSink, GradientEqualsFiniteDifferences) {
  const Dense o = RandomDense({2, 3, 2, 4}, DType::kF64, 1),
              lse = RandomDense({2, 3, 2}, DType::kF64, 2);
  const Dense sink = RandomDense({2}, DType::kF64, 3);
  const Dense doo = RandomDense(o.spec.shape, DType::kF64, 4);
  const Dense dlse = RandomDense(lse.spec.shape, DType::kF64, 5);
  const auto d = RunOp("attention_sink_grad", {}, {doo, dlse, o, lse, sink});
  const auto loss = [&](const Dense& o, const Dense& lse, const Dense& sink) {
    const auto y = RunOp("attention_sink", {}, {o, lse, sink});
    return Inner(y[0], doo) + Inner(y[1], dlse);
  };
  ExpectGradient([&](const Dense& x) { return loss(x, lse, sink); }, o, d[0]);
  ExpectGradient([&](const Dense& x) { return loss(o, x, sink); }, lse, d[1]);
  ExpectGradient([&](const Dense& x) { return loss(o, lse, x); }, sink, d[2]);
}

// Rows that saw nothing, gaps of thousands to either side, a sink that is none.
TEST(AttentionSink, ExtremesStayFinite) {
  for (DType dtype : {DType::kF32, DType::kF64}) {
    const Dense o = DenseOf({1, 5, 1, 1}, dtype, {NAN, 1, 1, 1, NAN});
    const Dense lse = DenseOf({1, 5, 1}, dtype, {-kInfinity, -5000, 5000, 3, -kInfinity});
    const Dense doo = DenseOf({1, 5, 1, 1}, dtype, {1, 1, 1, 1, 1});
    const Dense dlse = DenseOf({1, 5, 1}, dtype, {1, 1, 1, 1, 1});
    Dense sink = DenseOf({1}, dtype, {0.5});
    auto y = RunOp("attention_sink", {}, {o, lse, sink});
    EXPECT_EQ(y[1].values[0], 0.5);
    EXPECT_EQ(y[1].values[1], 0.5);
    EXPECT_EQ(y[1].values[2], 5000);
    EXPECT_EQ(y[0].values[0], 0);
    EXPECT_EQ(y[0].values[1], 0);
    EXPECT_EQ(y[0].values[2], 1);
    for (const Dense& x : RunOp("attention_sink_grad", {}, {doo, dlse, o, lse, sink})) {
      for (double value : x.values) EXPECT_TRUE(std::isfinite(value));
    }
    sink.values[0] = -kInfinity;
    y = RunOp("attention_sink", {}, {o, lse, sink});
    EXPECT_EQ(y[1].values, lse.values);
    EXPECT_EQ(y[0].values, (std::vector<double>{0, 1, 1, 1, 0}));
    const auto d = RunOp("attention_sink_grad", {}, {doo, dlse, o, lse, sink});
    EXPECT_EQ(d[0].values, (std::vector<double>{0, 1, 1, 1, 0}));
  }
}

TEST(AttentionSink, ErrorsNameTheShapes) {
  const TensorSpec o{{1, 2, 3, 4}, DType::kBF16}, lse{{1, 2, 3}, DType::kF32};
  const auto error = [&](const TensorSpec& sink) {
    return std::string(TryInfer("attention_sink", {}, {o, lse, sink}).message());
  };
  EXPECT_EQ(error({{3}, DType::kBF16}), "");
  EXPECT_EQ(error({{3}, DType::kF32}), "");
  EXPECT_THAT(error({{4}, DType::kF32}), HasSubstr("sink f32[4]"));
  EXPECT_THAT(error({{3}, DType::kF64}), HasSubstr("in the dtype of o or lse"));
}

}  // namespace
}  // namespace weft::testing
