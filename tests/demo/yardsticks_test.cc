#include "examples/demo/yardsticks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "launcher/job.h"

namespace weft {
namespace {

// A job over a text of 20000 bytes, the last tenth of them held out.
absl::StatusOr<Job> SomeJob(const std::string& more) {
  const std::string text = testing::TempDir() + "yardsticks_text";
  std::ofstream file(text);
  for (int i = 0; i < 1000; ++i) file << "line number " << 1000 + i * 7 % 1000 << " ok\n";
  file.close();
  return ParseJob(R"(name: "t" mesh: "data:1"
                     model { decoder { layers: 1 hidden: 16 heads: 2 ffn: 32 vocab: 256 } }
                     train { steps: 1 global_batch: 4 } optimizer { adamw { lr: 0.01 } }
                     data { sequence: 16 held_out: 0.1 text: ")" +
                      text + "\" } " + more,
                  "t.pbtxt");
}

TEST(Yardsticks, GzipOfNoiseAndOfZeros) {
  std::vector<uint8_t> noise(100000), zeros(100000);
  uint32_t state = 1;
  for (uint8_t& byte : noise) byte = static_cast<uint8_t>((state = state * 1664525u + 12345) >> 24);
  EXPECT_NEAR(GzipBitsPerByte(noise), 8, 0.02);  // stored blocks and a header
  EXPECT_LT(GzipBitsPerByte(zeros), 0.02);
  EXPECT_EQ(GzipBitsPerByte({}), 0);
}

TEST(Yardsticks, MeasuresTheHeldOutPart) {
  const auto job = SomeJob("");
  ASSERT_TRUE(job.ok()) << job.status();
  const auto y = MeasureYardsticks(*job);
  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_EQ(y->train_bytes, 18000);
  EXPECT_EQ(y->held_out_bytes, 2000);
  EXPECT_EQ(y->evaluated_bytes, 2000);
  EXPECT_GT(y->ngram3_bpb, 0.1);
  EXPECT_LT(y->ngram3_bpb, 2);
  EXPECT_EQ(y->ngram3_evaluated_bpb, y->ngram3_bpb);
}

TEST(Yardsticks, MeasuresTheEvaluatedBytesApart) {
  const auto job = SomeJob("evaluate { every: 1 batches: 2 }");
  ASSERT_TRUE(job.ok()) << job.status();
  const auto y = MeasureYardsticks(*job);
  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_EQ(y->evaluated_bytes, 2 * 4 * 16 + 1);
  EXPECT_LE(y->LossToBeat(), std::log(2.0) * y->ngram3_evaluated_bpb);
}

TEST(Yardsticks, SurviveTheirFile) {
  const std::string path = testing::TempDir() + "yardsticks.json";
  const Yardsticks y = {.ngram3_bpb = 2.25,
                        .gzip_bpb = 2.5,
                        .ngram3_evaluated_bpb = 2.125,
                        .train_bytes = 7,
                        .held_out_bytes = 3,
                        .evaluated_bytes = 2};
  ASSERT_TRUE(WriteYardsticks(y, path).ok());
  const auto read = ReadYardsticks(path);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->ngram3_bpb, 2.25);
  EXPECT_EQ(read->gzip_bpb, 2.5);
  EXPECT_EQ(read->evaluated_bytes, 2);
  EXPECT_DOUBLE_EQ(read->LossToBeat(), 2.125 * std::log(2.0));
  EXPECT_FALSE(ReadYardsticks("/nowhere").ok());
}

}  // namespace
}  // namespace weft
