// Conversions of f16 by vectors against those of single elements.
#include "kernels/vector_loops.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace weft {
namespace {

TEST(VectorLoops, EveryF16WidensAsAnElementDoes) {
  std::vector<Float16> x(1 << 16);
  for (size_t i = 0; i < x.size(); ++i) x[i].bits = static_cast<uint16_t>(i);
  std::vector<float> y(x.size());
  CastLoop(x.data(), y.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    const auto want = static_cast<float>(x[i]);
    ASSERT_TRUE(std::bit_cast<uint32_t>(y[i]) == std::bit_cast<uint32_t>(want) ||
                (std::isnan(y[i]) && std::isnan(want)))
        << i << ": " << y[i] << " instead of " << want;
  }
}

// Every f16 value, the middle to the next, and what lies just beside both.
TEST(VectorLoops, F32RoundsToF16AsAnElementDoes) {
  std::vector<float> x;
  for (uint32_t i = 0; i < (1 << 16); ++i) {
    Float16 value;
    value.bits = static_cast<uint16_t>(i);
    const uint32_t u = std::bit_cast<uint32_t>(static_cast<float>(value));
    for (uint32_t step : {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0x1fffu}) {
      x.push_back(std::bit_cast<float>(u + step));
    }
  }
  for (float special : {0x1p-25f, 0x1.000002p-25f, 0x1p-26f, 0x1p-149f, 65519.996f, 65520.0f,
                        0x1p100f, INFINITY, NAN}) {
    x.push_back(special);
    x.push_back(-special);
  }
  for (uint32_t i = 0; i < 100000; ++i) x.push_back(std::bit_cast<float>(i * 2654435761u));
  std::vector<Float16> y(x.size());
  CastLoop(x.data(), y.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(y[i].bits, Float16(x[i]).bits) << x[i] << ", " << std::bit_cast<uint32_t>(x[i]);
  }
}

}  // namespace
}  // namespace weft
