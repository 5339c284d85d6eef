#include "launcher/tokenizer.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(Tokenizer, BytesGoBothWays) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const std::vector<int32_t> ids = EncodeBytes(all);
  ASSERT_EQ(ids.size(), 256u);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(ids[i], i);
  EXPECT_EQ(DecodeBytes(ids), all);
}

TEST(Tokenizer, IdsBeyondABytePrintAsQuestionMarks) {
  EXPECT_EQ(DecodeBytes(std::vector<int32_t>{'a', 256, -1, 'b'}), "a??b");
}

}  // namespace
}  // namespace weft
