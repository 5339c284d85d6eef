#include "examples/demo/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft {
namespace {

using testing::HasSubstr;

const Yardsticks kYardsticks = {.ngram3_bpb = 2.25,
                                .gzip_bpb = 2.6,
                                .ngram3_evaluated_bpb = 2.125,
                                .train_bytes = 900000,
                                .held_out_bytes = 100000,
                                .evaluated_bytes = 1000};

TEST(Summary, NeedsAnEvaluation) {
  MetricsCurve curve;
  curve.training = {{1, 3.0}};
  EXPECT_EQ(OutcomeOf(curve, nullptr, kYardsticks).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(Summary, ComparesOnTheSameBytes) {
  MetricsCurve curve;
  curve.evaluation = {{1, 3.0}, {2, 2.2}};
  const auto part = OutcomeOf(curve, nullptr, kYardsticks);
  ASSERT_TRUE(part.ok());
  EXPECT_EQ(part->weft_bpb, 2.2);
  EXPECT_EQ(part->ngram3_bpb, 2.125);
  EXPECT_EQ(part->evaluated_bytes, 1000);
  EXPECT_FALSE(part->beats_both());
  EXPECT_THAT(PrintFigures(curve, *part, kYardsticks), HasSubstr("the first 1000 of these"));

  const auto whole = OutcomeOf({}, &curve, kYardsticks);
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->ngram3_bpb, 2.25);
  EXPECT_EQ(whole->evaluated_bytes, 100000);
  EXPECT_TRUE(whole->beats_both());
}

TEST(Summary, HasTheKeysOfTheContract) {
  Job job;
  job.set_mesh("data:2");
  Job::Decoder& decoder = *job.mutable_model()->mutable_decoder();
  decoder.set_layers(1);
  decoder.set_hidden(16);
  decoder.set_heads(2);
  decoder.set_ffn(32);
  decoder.set_vocab(256);
  MetricsCurve curve;
  curve.tokens = 1000;
  curve.seconds = 4;
  const Outcome outcome = {
      .weft_bpb = 2, .evaluated_bytes = 1, .ngram3_bpb = 2.25, .gzip_bpb = 2.5};
  const std::string summary = PrintSummary(job, curve, outcome);
  for (const char* part : {"\"weft_bpb\": 2.0", "\"ngram3_bpb\": 2.25", "\"gzip_bpb\": 2.5",
                           "\"tokens_per_s\": 250.0", "\"train_seconds\": 4.0",
                           "\"parameters\": ", "\"mesh\": \"data:2\"", "\"beats_both\": true"}) {
    EXPECT_THAT(summary, HasSubstr(part));
  }
}

}  // namespace
}  // namespace weft
