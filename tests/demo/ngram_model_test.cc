#include "examples/demo/ngram_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace weft {
namespace {

std::vector<uint8_t> Bytes(const std::string& text) { return {text.begin(), text.end()}; }

// Text that repeats, with a change now and then, so that every order has something to say.
std::vector<uint8_t> SomeText(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) {
    text += "the cat sat on the mat " + std::to_string(i * i % 37) + "\n";
  }
  return Bytes(text);
}

TEST(GramCounts, CountsAcrossGrowth) {
  GramCounts counts(4);
  for (uint32_t round = 0; round < 3; ++round) {
    for (uint32_t key = 0; key < 5000; ++key) EXPECT_EQ(counts.Increment(key << 8), round);
  }
  EXPECT_EQ(counts.Find(4999u << 8), 3u);
  EXPECT_EQ(counts.Find(7), 0u);
}

TEST(NgramModel, ProbabilitiesSumToOne) {
  const NgramModel model(SomeText(200));
  for (const char* context : {"", "t", "th", "the", "the c", "\xff\xfe\xfd", "xth", "37\n"}) {
    const std::vector<uint8_t> bytes = Bytes(context);
    double sum = 0;
    for (int next = 0; next < 256; ++next) {
      const double p = model.Probability(bytes, static_cast<uint8_t>(next));
      EXPECT_GT(p, 0) << context;
      sum += p;
    }
    EXPECT_NEAR(sum, 1, 1e-12) << context;  // 256 doubles added
  }
}

TEST(NgramModel, UsesThreeBytesOfContextAndNoMore) {
  const NgramModel model(SomeText(200));
  EXPECT_EQ(model.Probability(Bytes("he cat"), ' '), model.Probability(Bytes("cat"), ' '));
  EXPECT_GT(model.Probability(Bytes("cat"), ' '), model.Probability(Bytes("at"), ' '));
}

TEST(NgramModel, BitsPerByteIsTheMeanOfItsSurprise) {
  const NgramModel model(SomeText(200));
  const std::vector<uint8_t> text = Bytes("the dog");
  double bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    bits -= std::log2(model.Probability({text.data(), i}, text[i]));
  }
  EXPECT_NEAR(model.BitsPerByte(text), bits / 7, 1e-12);
}

TEST(NgramModel, NearsTheEntropyOfAnUnrelatedSource) {
  // 4 letters at random, equally often: 2 bits a byte are all there is to know.
  std::vector<uint8_t> text(200000);
  uint32_t state = 1;
  for (uint8_t& byte : text) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<uint8_t>('a' + (state >> 30));
  }
  const absl::Span<const uint8_t> all(text);
  const NgramModel model(all.first(150000));
  EXPECT_NEAR(model.BitsPerByte(all.subspan(150000)), 2, 0.01);
}

TEST(NgramModel, EmptyTrainingKnowsNothing) {
  const NgramModel model({});
  EXPECT_DOUBLE_EQ(model.BitsPerByte(Bytes("abc")), 8);
}

}  // namespace
}  // namespace weft
