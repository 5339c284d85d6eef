// The config alone; the graph itself is tested with the real ops in tests/system.
#include "graph/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/graph/toy_ops.h"

namespace weft {
namespace {

using ::testing::HasSubstr;

DecoderConfig Tiny() {
  return {.layers = 4, .hidden = 128, .heads = 4, .kv_heads = 2, .ffn = 384, .vocab = 256};
}

std::string Error(const DecoderConfig& config) {
  return std::string(ValidateDecoder(config).message());
}

TEST(Decoder, TinyIsValid) {
  EXPECT_TRUE(ValidateDecoder(Tiny()).ok());
  // 4 x (128*32*12 + 3*128*384 + 256) + 128 + 2*256*128
  EXPECT_EQ(NumParameters(Tiny()), 4 * (49152 + 147456 + 256) + 128 + 65536);
}

TEST(Decoder, FieldsAreNamedInErrors) {
  DecoderConfig config = Tiny();
  config.layers = 0;
  EXPECT_THAT(Error(config), HasSubstr("layers is 0"));
  config = Tiny();
  config.hidden = -1;
  EXPECT_THAT(Error(config), HasSubstr("hidden is -1"));
  config = Tiny();
  config.heads = 3;
  EXPECT_THAT(Error(config), HasSubstr("not a multiple of heads 3"));
  config = Tiny();
  config.kv_heads = 3;
  EXPECT_THAT(Error(config), HasSubstr("kv_heads 3 does not divide heads 4"));
  config = Tiny();
  config.head_dim = 7;
  EXPECT_THAT(Error(config), HasSubstr("head_dim 7 is odd"));
  config = Tiny();
  config.dropout = 1;
  EXPECT_THAT(Error(config), HasSubstr("dropout is 1"));
  config = Tiny();
  config.rope_theta = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(Error(config), HasSubstr("rope_theta is nan"));
  config = Tiny();
  config.init_stddev = std::numeric_limits<double>::infinity();
  EXPECT_THAT(Error(config), HasSubstr("init_stddev is inf"));
}

TEST(Decoder, AbsurdSizesDoNotOverflow) {
  const int64_t max = std::numeric_limits<int64_t>::max();
  for (int64_t DecoderConfig::*field :
       {&DecoderConfig::layers, &DecoderConfig::hidden, &DecoderConfig::heads,
        &DecoderConfig::kv_heads, &DecoderConfig::head_dim, &DecoderConfig::ffn,
        &DecoderConfig::vocab}) {
    for (int64_t value : {max, -max, int64_t{-1}, int64_t{1} << 40}) {
      DecoderConfig config = Tiny();
      config.*field = value;
      EXPECT_FALSE(ValidateDecoder(config).ok()) << value;
    }
  }
  DecoderConfig config = Tiny();
  config.hidden = config.ffn = config.layers = 1 << 24;
  EXPECT_FALSE(ValidateDecoder(config).ok());
}

TEST(Decoder, BatchAndTypeAreChecked) {
  const OpRegistry ops = testing::ToyOps();
  auto error = [&](int64_t batch, int64_t sequence, DType dtype) {
    GraphBuilder g(ops);
    BuildDecoderLoss(g, Tiny(), batch, sequence, dtype);
    return std::string(g.status().message());
  };
  EXPECT_THAT(error(0, 8, DType::kF32), HasSubstr("batch is 0"));
  EXPECT_THAT(error(1, -8, DType::kF32), HasSubstr("sequence is -8"));
  EXPECT_THAT(error(1 << 24, 1 << 24, DType::kF32), HasSubstr("activations"));
  EXPECT_THAT(error(1, 8, DType::kI32), HasSubstr("cannot compute in i32"));
  EXPECT_THAT(error(1, 8, DType::kF32), HasSubstr("no such op is registered"));
}

}  // namespace
}  // namespace weft
