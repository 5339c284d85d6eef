#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/dense_run.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Problem {
  int64_t batch, s, t, heads, kv_heads, d, dv;
  bool causal;
};

struct Inputs {
  Dense q, k, v;
};

Inputs RandomInputs(const Problem& p, DType dtype) {
  return {RandomDense({p.batch, p.s, p.heads, p.d}, dtype, 1),
          RandomDense({p.batch, p.t, p.kv_heads, p.d}, dtype, 2),
          RandomDense({p.batch, p.t, p.kv_heads, p.dv}, dtype, 3)};
}

// o and lse by whole rows of scores, in f64.
std::vector<std::vector<double>> PlainLoops(const Problem& p, const Inputs& x, double scale) {
  std::vector<double> o(p.batch * p.s * p.heads * p.dv, 0.0), lse(p.batch * p.s * p.heads);
  for (int64_t row = 0; row < p.batch * p.s * p.heads; ++row) {
    const int64_t h = row % p.heads, i = row / p.heads % p.s, b = row / p.heads / p.s;
    const int64_t kv = h / (p.heads / p.kv_heads);
    std::vector<double> scores;
    double sum = 0;
    for (int64_t j = 0; j < p.t && (!p.causal || j <= i); ++j) {
      double score = 0;
      for (int64_t c = 0; c < p.d; ++c) {
        score +=
            x.q.values[row * p.d + c] * x.k.values[((b * p.t + j) * p.kv_heads + kv) * p.d + c];
      }
      scores.push_back(scale * score);
      sum += std::exp(scores.back());
    }
    lse[row] = scores.empty() ? -kInfinity : std::log(sum);
    for (size_t j = 0; j < scores.size(); ++j) {
      for (int64_t c = 0; c < p.dv; ++c) {
        o[row * p.dv + c] += std::exp(scores[j] - lse[row]) *
                             x.v.values[((b * p.t + j) * p.kv_heads + kv) * p.dv + c];
      }
    }
  }
  return {o, lse};
}

class AttentionProblems : public ::testing::TestWithParam<Problem> {};

TEST_P(AttentionProblems, EqualPlainLoops) {
  const Problem p = GetParam();
  const Attrs attrs = {{"causal", p.causal}, {"scale", 0.7}};
  const struct {
    DType dtype;
    double tolerance;
  } cases[] = {
      {DType::kF32, 2e-5}, {DType::kF64, 1e-12}, {DType::kBF16, 1e-2}, {DType::kF16, 2e-3}};
  for (const auto& [dtype, tolerance] : cases) {
    const Inputs x = RandomInputs(p, dtype);
    const auto want = PlainLoops(p, x, 0.7);
    const std::vector<Dense> got = RunOp("attention", attrs, {x.q, x.k, x.v});
    ExpectClose(got[0].values, want[0], tolerance);
    ExpectClose(got[1].values, want[1], 2e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Attention, AttentionProblems,
    ::testing::Values(Problem{2, 5, 5, 4, 2, 6, 3, true}, Problem{1, 7, 4, 3, 3, 4, 4, false},
                      Problem{1, 4, 9, 2, 1, 4, 5, true}, Problem{1, 150, 150, 1, 1, 3, 2, true},
                      Problem{1, 3, 1100, 2, 1, 4, 4, false},
                      Problem{1, 600, 600, 1, 1, 2, 2, true}, Problem{0, 4, 4, 2, 2, 4, 4, true},
                      Problem{2, 0, 4, 2, 2, 4, 4, true}, Problem{1, 3, 0, 2, 2, 4, 4, false}));

// attention_grad of a loss with weights on both o and lse.
struct Gradients {
  Dense doo, dlse;
  std::vector<Dense> dqkv;
};

Gradients GradientsOf(const Problem& p, const Inputs& x, const Attrs& attrs) {
  const std::vector<Dense> y = RunOp("attention", attrs, {x.q, x.k, x.v});
  Gradients g{RandomDense(y[0].spec.shape, x.q.spec.dtype, 4),
              RandomDense(y[1].spec.shape, y[1].spec.dtype, 5),
              {}};
  if (p.t == 0) g.dlse = y[1];
  g.dqkv = RunOp("attention_grad", attrs, {g.doo, x.q, x.k, x.v, y[0], y[1], g.dlse});
  return g;
}

TEST(AttentionGrad, EqualsFiniteDifferences) {
  for (const Problem& p : {Problem{2, 4, 4, 4, 2, 3, 2, true}, Problem{1, 3, 5, 2, 2, 2, 3, false},
                           Problem{1, 2, 600, 1, 1, 2, 1, false}}) {
    const Attrs attrs = {{"causal", p.causal}};
    const Inputs x = RandomInputs(p, DType::kF64);
    const Gradients g = GradientsOf(p, x, attrs);
    const auto loss = [&](const Dense& q, const Dense& k, const Dense& v) {
      const std::vector<Dense> y = RunOp("attention", attrs, {q, k, v});
      return Inner(y[0], g.doo) + Inner(y[1], g.dlse);
    };
    ExpectGradient([&](const Dense& q) { return loss(q, x.k, x.v); }, x.q, g.dqkv[0]);
    if (p.t > 100) continue;
    ExpectGradient([&](const Dense& k) { return loss(x.q, k, x.v); }, x.k, g.dqkv[1]);
    ExpectGradient([&](const Dense& v) { return loss(x.q, x.k, v); }, x.v, g.dqkv[2]);
  }
}

TEST(AttentionGrad, OtherTypesFollowF64) {
  const Problem p{1, 300, 300, 2, 1, 8, 8, true};
  const Attrs attrs = {{"causal", true}};
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    SCOPED_TRACE(std::string(Name(dtype)));
    const Inputs x = RandomInputs(p, dtype);
    Inputs exact = x;
    exact.q.spec.dtype = exact.k.spec.dtype = exact.v.spec.dtype = DType::kF64;
    const std::vector<Dense> y = RunOp("attention", attrs, {x.q, x.k, x.v});
    const std::vector<Dense> z = RunOp("attention", attrs, {exact.q, exact.k, exact.v});
    Dense doo = RandomDense(y[0].spec.shape, dtype, 4), exact_doo = doo;
    exact_doo.spec.dtype = DType::kF64;
    const auto got = RunOp("attention_grad", attrs, {doo, x.q, x.k, x.v, y[0], y[1]});
    const auto want =
        RunOp("attention_grad", attrs, {exact_doo, exact.q, exact.k, exact.v, z[0], z[1]});
    for (int i = 0; i < 3; ++i) {
      ExpectClose(got[i].values, want[i].values, dtype == DType::kF32 ? 2e-5 : 2e-2);
    }
  }
}

TEST(Attention, UnevenHeadsWithWholeKeyHeads) {
  const Problem p{2, 4, 4, 6, 3, 3, 2, true};
  const Attrs attrs = {{"causal", true}};
  const Inputs x = RandomInputs(p, DType::kF64);
  const std::vector<Dense> whole = RunOp("attention", attrs, {x.q, x.k, x.v});
  const Gradients g = GradientsOf(p, x, attrs);
  std::vector<double> dk(g.dqkv[1].values.size(), 0.0), dv(g.dqkv[2].values.size(), 0.0);
  for (const IndexSet& part :
       {Parts({{0, 3}}), Parts({{3, 3}}), Parts({{3, 4}}), Parts({{4, 6}})}) {
    const Dense q = Cut(x.q, 2, part), o = Cut(whole[0], 2, part), lse = Cut(whole[1], 2, part);
    DenseRunOptions options;
    options.boxes = {o.box, lse.box};
    const std::vector<Dense> y = RunOp("attention", attrs, {q, x.k, x.v}, options);
    ExpectPart(y[0], whole[0], 1e-13);
    ExpectPart(y[1], whole[1], 1e-13);
    DenseRunOptions grads;
    grads.boxes = {q.box, x.k.box, x.v.box};
    const std::vector<Dense> d =
        RunOp("attention_grad", attrs,
              {Cut(g.doo, 2, part), q, x.k, x.v, o, lse, Cut(g.dlse, 2, part)}, grads);
    ExpectPart(d[0], g.dqkv[0], 1e-12);
    for (size_t i = 0; i < dk.size(); ++i) dk[i] += d[1].values[i];
    for (size_t i = 0; i < dv.size(); ++i) dv[i] += d[2].values[i];
  }
  ExpectClose(dk, g.dqkv[1].values, 1e-12);
  ExpectClose(dv, g.dqkv[2].values, 1e-12);
}

TEST(Attention, GroupsOfHeadsWithTheirKeyHeads) {
  const Problem p{3, 4, 4, 6, 3, 3, 2, true};
  const Attrs attrs = {{"causal", true}};
  const Inputs x = RandomInputs(p, DType::kF32);
  const std::vector<Dense> whole = RunOp("attention", attrs, {x.q, x.k, x.v});
  const IndexSet q_part = Parts({{2, 6}}), kv_part = Parts({{1, 3}}),
                 rows = Parts({{0, 1}, {2, 3}});
  Box q_box = x.q.box, kv_box = x.k.box, v_box = x.v.box, lse_box = whole[1].box;
  q_box.dims[2] = lse_box.dims[2] = q_part;
  kv_box.dims[2] = v_box.dims[2] = kv_part;
  q_box.dims[0] = kv_box.dims[0] = v_box.dims[0] = lse_box.dims[0] = rows;
  Box o_box = q_box;
  o_box.dims[3] = whole[0].box.dims[3];
  DenseRunOptions options;
  options.boxes = {o_box, lse_box};
  const std::vector<Dense> y = RunOp(
      "attention", attrs, {PartOf(x.q, q_box), PartOf(x.k, kv_box), PartOf(x.v, v_box)}, options);
  ExpectPart(y[0], whole[0], 1e-6);
  ExpectPart(y[1], whole[1], 1e-6);
}

// Sequence splits are for ring attention; a block of it is this kernel on boxes with positions.
TEST(Attention, CausalMaskGoesByLogicalPositions) {
  const Problem p{1, 8, 8, 1, 1, 2, 2, true};
  const Attrs attrs = {{"causal", true}};
  const Inputs x = RandomInputs(p, DType::kF64);
  const std::vector<Dense> whole = RunOp("attention", attrs, {x.q, x.k, x.v});
  const IndexSet rows = Parts({{0, 2}, {6, 8}});
  DenseRunOptions options;
  options.boxes = {Cut(whole[0], 1, rows).box, Cut(whole[1], 1, rows).box};
  std::vector<Dense> y = RunOp("attention", attrs, {Cut(x.q, 1, rows), x.k, x.v}, options);
  ExpectPart(y[0], whole[0], 1e-13);
  // Keys 3.. only: the first rows see none of them.
  const IndexSet keys = Parts({{3, 5}, {7, 8}});
  y = RunOp("attention", attrs, {Cut(x.q, 1, rows), Cut(x.k, 1, keys), Cut(x.v, 1, keys)}, options);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(y[0].values[i], 0);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(y[1].values[i], -kInfinity);
  for (int i = 2; i < 4; ++i) EXPECT_TRUE(std::isfinite(y[1].values[i]));
  DenseRunOptions grads;
  grads.boxes = {Cut(x.q, 1, rows).box, Cut(x.k, 1, keys).box, Cut(x.v, 1, keys).box};
  const Dense doo = Cut(RandomDense(whole[0].spec.shape, DType::kF64, 4), 1, rows);
  const std::vector<Dense> d =
      RunOp("attention_grad", attrs,
            {doo, Cut(x.q, 1, rows), Cut(x.k, 1, keys), Cut(x.v, 1, keys), y[0], y[1]}, grads);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(d[0].values[i], 0);
  for (const Dense& gradient : d) {
    for (double value : gradient.values) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(Attention, LargeScoresStayFinite) {
  Inputs x = RandomInputs({1, 3, 3, 1, 1, 2, 2, false}, DType::kF32);
  for (double& value : x.q.values) value *= 1e4;
  for (double& value : x.k.values) value *= 1e4;
  const std::vector<Dense> y = RunOp("attention", {}, {x.q, x.k, x.v});
  for (double value : y[0].values) EXPECT_LE(std::abs(value), 1);
}

TEST(Attention, ErrorsNameTheShapes) {
  const auto error = [](const Shape& q, const Shape& k, const Shape& v) {
    const DType f32 = DType::kF32;
    return std::string(TryInfer("attention", {}, {{q, f32}, {k, f32}, {v, f32}}).message());
  };
  EXPECT_THAT(error({1, 2, 3, 4}, {1, 2, 2, 4}, {1, 2, 2, 4}), HasSubstr("must divide"));
  EXPECT_THAT(error({1, 2, 3, 4}, {1, 2, 3, 5}, {1, 2, 3, 4}), HasSubstr("head_dim"));
  EXPECT_THAT(error({1, 2, 3, 4}, {1, 2, 3, 4}, {1, 3, 3, 4}), HasSubstr("length"));
  EXPECT_THAT(error({1, 2, 3, 4}, {2, 2, 3, 4}, {2, 2, 3, 4}), HasSubstr("f32[1,2,3,4]"));
  EXPECT_THAT(error({2, 3, 4}, {1, 2, 3, 4}, {1, 2, 3, 4}), HasSubstr("batch,sequence"));
}

}  // namespace
}  // namespace weft::testing
