// What is known of a matrix product without a GPU.
#include "kernels/product_algorithms.h"

#include <limits>

#include "gtest/gtest.h"
#include "runtime/dtype.h"

namespace weft {
namespace {

using Key = ProductKey;

ProductKey KeyOf(int64_t m, int64_t n, int64_t k, DType operands) {
  ProductKey key;
  key[Key::kM] = m;
  key[Key::kN] = n;
  key[Key::kK] = k;
  key[Key::kBatch] = 1;
  key[Key::kOperands] = static_cast<int64_t>(operands);
  key[Key::kResult] = static_cast<int64_t>(DType::kF32);
  return key;
}

TEST(ProductAlgorithms, EveryFieldTellsProductsApart) {
  const ProductKey key = KeyOf(4096, 2048, 1024, DType::kBF16);
  for (int field = 0; field < Key::kFields; ++field) {
    EXPECT_FALSE(Key::kNames[field].empty()) << field;
    ProductKey other = key;
    ++other.values[field];
    EXPECT_NE(key, other) << Key::kNames[field];
    EXPECT_LT(key, other) << Key::kNames[field];
  }
}

TEST(ProductAlgorithms, ProductsReadLikeOnes) {
  ProductKey key = KeyOf(4096, 2048, 1024, DType::kBF16);
  EXPECT_EQ(key.flops(), 2.0 * 4096 * 2048 * 1024);
  EXPECT_EQ(key.ToString(), "4096 x 2048 x 1024, bf16 bf16 to f32");
  key[Key::kTransposed] = 3;
  key[Key::kBatch] = 8;
  key[Key::kAdds] = 1;
  EXPECT_EQ(key.ToString(), "4096 x 2048 x 1024, 8 times, bf16' bf16' to f32, adds");
  ProductKey tf32 = KeyOf(4096, 2048, 1024, DType::kF32);
  tf32[Key::kTf32] = 1;
  EXPECT_EQ(tf32.ToString(), "4096 x 2048 x 1024, tf32 tf32 to f32");
}

TEST(ProductAlgorithms, ShortOnesAreNotMeasured) {
  EXPECT_TRUE(WorthMeasuring(KeyOf(16384, 2048, 2048, DType::kBF16)));
  EXPECT_FALSE(WorthMeasuring(KeyOf(8192, 768, 256, DType::kBF16)));
  EXPECT_TRUE(WorthMeasuring(KeyOf(8192, 768, 256, DType::kF32)));
  ProductKey rounded = KeyOf(8192, 768, 256, DType::kF32);
  rounded[Key::kTf32] = 1;
  EXPECT_FALSE(WorthMeasuring(rounded));
  EXPECT_FALSE(WorthMeasuring(KeyOf(512, 512, 512, DType::kF64)));
}

TEST(ProductAlgorithms, WhatIsAsFastButForNoiseIsTheEarlier) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  EXPECT_EQ(FastestCandidate({1.0}), 0);
  EXPECT_EQ(FastestCandidate({1.005, 1.0, 0.999}), 0);
  EXPECT_EQ(FastestCandidate({1.2, 1.009, 1.0}), 1);
  EXPECT_EQ(FastestCandidate({1.02, kNever, 1.0}), 2);
  EXPECT_EQ(FastestCandidate({kNever, 2.0}), 1);
  EXPECT_EQ(FastestCandidate({kNever}), -1);
  EXPECT_EQ(FastestCandidate({}), -1);
}

}  // namespace
}  // namespace weft
