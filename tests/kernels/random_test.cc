#include <cmath>

#include "gtest/gtest.h"
#include "kernels/op_list.h"
#include "kernels/philox.h"
#include "tests/support/host_tensor.h"

namespace weft::testing {
namespace {

// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
TEST(Random, PhiloxGivesTheKnownAnswers) {
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(Philox({ones, ones, ones, ones}, {ones, ones}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

std::vector<double> Draw(const std::string& name, Attrs attrs) {
  OpRegistry ops;
  DefineRandom(ops);
  const OpDef& op = *ops.Find(name);
  attrs.Set("shape", std::vector<int64_t>{200, 250});
  auto results = RunKernel(op, Completed(op, attrs), {});
  EXPECT_TRUE(results.ok()) << results.status();
  return results.ok() ? (*results)[0].values : std::vector<double>(1);
}

struct Moments {
  double mean = 0, variance = 0;
  explicit Moments(const std::vector<double>& values) {
    const double n = static_cast<double>(values.size());
    for (double v : values) mean += v / n;
    for (double v : values) variance += (v - mean) * (v - mean) / n;
  }
};

// 50,000 samples: the bounds are five standard errors.
TEST(Random, NormalHasItsMoments) {
  const Moments m(Draw("random_normal", {{"mean", 2.0}, {"stddev", 0.5}, {"seed", int64_t{5}}}));
  EXPECT_NEAR(m.mean, 2.0, 5 * 0.5 / std::sqrt(50000.0));
  EXPECT_NEAR(m.variance, 0.25, 5 * 0.25 * std::sqrt(2 / 50000.0));
}

TEST(Random, UniformHasItsMomentsAndRange) {
  const std::vector<double> values = Draw("random_uniform", {{"low", -1.0}, {"high", 3.0}});
  for (double v : values) ASSERT_TRUE(v >= -1 && v <= 3) << v;
  const Moments m(values);
  EXPECT_NEAR(m.mean, 1.0, 5 * std::sqrt(16.0 / 12 / 50000));
  EXPECT_NEAR(m.variance, 16.0 / 12, 0.04);
}

TEST(Random, SeedsGiveDifferentTensors) {
  EXPECT_NE(Draw("random_normal", {{"seed", int64_t{1}}}),
            Draw("random_normal", {{"seed", int64_t{2}}}));
}

TEST(Random, DropoutKeepsTheShareItSays) {
  OpRegistry ops;
  DefineDropout(ops);
  const OpDef& op = *ops.Find("dropout");
  const TensorSpec spec{{200, 250}, DType::kF32};
  const HostTensor x = Whole(spec, std::vector<double>(spec.elements(), 1.0));
  const HostTensor seed = Whole({{}, DType::kI64}, {9});
  auto run = [&](int64_t tag) {
    auto y = RunKernel(op, {{"rate", 0.25}, {"tag", tag}}, {x, seed});
    EXPECT_TRUE(y.ok()) << y.status();
    return (*y)[0].values;
  };
  const std::vector<double> y = run(0);
  double kept = 0;
  for (double v : y) {
    ASSERT_TRUE(v == 0 || std::abs(v - 4.0 / 3) < 1e-6) << v;
    kept += v != 0;
  }
  EXPECT_NEAR(kept / 50000, 0.75, 5 * std::sqrt(0.75 * 0.25 / 50000));
  EXPECT_NE(run(1), y);
}

}  // namespace
}  // namespace weft::testing
