#include "launcher/dataset.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace weft {
namespace {

constexpr int64_t kBatch = 5;
constexpr int64_t kSequence = 7;

// Token i is i modulo 251, so a value tells its neighbours.
TokenSource Counting(int64_t size) {
  std::vector<uint8_t> bytes(size);
  for (int64_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i % 251);
  return TokenSource::FromBytes("counting", std::move(bytes));
}

DatasetOptions Options(double held_out = 0, uint64_t seed = 1) {
  return {.batch = kBatch, .sequence = kSequence, .vocab = 256, .seed = seed, .held_out = held_out};
}

Dataset Make(int64_t size, const DatasetOptions& options) {
  absl::StatusOr<Dataset> dataset = Dataset::Create(Counting(size), options);
  EXPECT_TRUE(dataset.ok()) << dataset.status();
  return *std::move(dataset);
}

Box MakeBox(std::vector<Interval> rows, std::vector<Interval> columns) {
  Box box;
  box.dims.resize(2);
  for (const Interval& i : rows) box.dims[0].Append(i);
  for (const Interval& i : columns) box.dims[1].Append(i);
  return box;
}

struct Batch {
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;
};

Batch Rows(const Dataset& dataset, int64_t step, const Box& box) {
  Batch batch{std::vector<int32_t>(box.elements(), -7), std::vector<int32_t>(box.elements(), -7)};
  const absl::Status status =
      dataset.FillRows(step, box, absl::MakeSpan(batch.tokens), absl::MakeSpan(batch.targets));
  EXPECT_TRUE(status.ok()) << status;
  return batch;
}

TEST(Dataset, RowsAreWindowsWithTargetsOneFurther) {
  const Dataset dataset = Make(1000, Options());
  const Batch batch = Rows(dataset, 3, Box::Whole({kBatch, kSequence}));
  for (int64_t r = 0; r < kBatch; ++r) {
    for (int64_t c = 0; c < kSequence; ++c) {
      const int64_t i = r * kSequence + c;
      EXPECT_EQ(batch.tokens[i], (batch.tokens[r * kSequence] + c) % 251);
      EXPECT_EQ(batch.targets[i], (batch.tokens[i] + 1) % 251);
    }
  }
}

TEST(Dataset, AnyBoxHoldsItsPartOfTheWhole) {
  const Dataset dataset = Make(5000, Options());
  const Batch whole = Rows(dataset, 9, Box::Whole({kBatch, kSequence}));
  const std::vector<Box> boxes = {
      MakeBox({{1, 3}}, {{0, 7}}),
      MakeBox({{0, 5}}, {{3, 4}}),
      MakeBox({{0, 1}, {4, 5}}, {{0, 7}}),
      MakeBox({{2, 5}}, {{0, 2}, {5, 7}}),  // zigzag
      MakeBox({}, {{0, 7}}),
  };
  for (const Box& box : boxes) {
    const Batch part = Rows(dataset, 9, box);
    int64_t local = 0;
    for (int64_t r = 0; r < box.dims[0].size(); ++r) {
      for (int64_t c = 0; c < box.dims[1].size(); ++c, ++local) {
        const int64_t at = box.dims[0].ToLogical(r) * kSequence + box.dims[1].ToLogical(c);
        EXPECT_EQ(part.tokens[local], whole.tokens[at]) << box.ToString();
        EXPECT_EQ(part.targets[local], whole.targets[at]) << box.ToString();
      }
    }
  }
}

TEST(Dataset, SamplesDependOnSeedStepAndRowAlone) {
  const Box box = Box::Whole({kBatch, kSequence});
  const Dataset a = Make(100000, Options());
  EXPECT_EQ(Rows(a, 4, box).tokens, Rows(Make(100000, Options()), 4, box).tokens);
  EXPECT_NE(Rows(a, 4, box).tokens, Rows(a, 5, box).tokens);
  EXPECT_NE(Rows(a, 4, box).tokens, Rows(Make(100000, Options(0, 2)), 4, box).tokens);
  DatasetOptions larger = Options();
  larger.batch = 2 * kBatch;
  EXPECT_EQ(Rows(a, 4, box).tokens, Rows(Make(100000, larger), 4, box).tokens);
}

TEST(Dataset, DrawsEveryPlaceOfTheTrainingPartAndNoOther) {
  // 40 tokens, half held out: windows may begin at 0 .. 12.
  const Dataset dataset = Make(40, Options(0.5));
  EXPECT_EQ(dataset.train_tokens(), 20);
  EXPECT_EQ(dataset.held_out_tokens(), 20);
  std::set<int32_t> begins;
  for (int64_t step = 0; step < 200; ++step) {
    const Batch batch = Rows(dataset, step, Box::Whole({kBatch, kSequence}));
    for (int64_t r = 0; r < kBatch; ++r) begins.insert(batch.tokens[r * kSequence]);
    for (const int32_t target : batch.targets) {
      EXPECT_GE(target, 0);
      EXPECT_LT(target, 20);
    }
  }
  EXPECT_EQ(begins.size(), 13u);
  EXPECT_EQ(*begins.rbegin(), 12);
}

TEST(Dataset, HeldOutWindowsCoverEveryTargetOnce) {
  for (const int64_t size : {200, 235, 236, 237, 340}) {
    const Dataset dataset = Make(size, Options(0.5));
    const int64_t first = dataset.train_tokens();
    std::vector<int> seen(size, 0);
    int64_t valid = 0;
    for (int64_t b = 0; b < dataset.held_out_batches(); ++b) {
      std::vector<int32_t> tokens(kBatch * kSequence), targets(kBatch * kSequence);
      ASSERT_TRUE(dataset
                      .FillHeldOutRows(b, Box::Whole({kBatch, kSequence}), absl::MakeSpan(tokens),
                                       absl::MakeSpan(targets))
                      .ok());
      int64_t here = 0;
      for (size_t i = 0; i < targets.size(); ++i) {
        if (targets[i] == kIgnoredTarget) continue;
        ++here;
        const int64_t at = first + b * kBatch * kSequence + static_cast<int64_t>(i);
        EXPECT_EQ(tokens[i], at % 251);
        EXPECT_EQ(targets[i], (at + 1) % 251);
        ++seen[at + 1];
      }
      EXPECT_EQ(here, dataset.HeldOutTargets(b));
      EXPECT_GT(here, 0);
      valid += here;
    }
    EXPECT_EQ(valid, dataset.held_out_tokens() - 1);
    for (int64_t i = 0; i < size; ++i) EXPECT_EQ(seen[i], i > first ? 1 : 0) << i;
  }
}

TEST(Dataset, EmptyAndShortDataSayHowMuchIsNeeded) {
  for (const int64_t size : {0, 1, 7}) {
    const absl::Status status = Dataset::Create(Counting(size), Options()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(status.message()).find("at least 8"), std::string::npos) << status;
  }
  EXPECT_TRUE(Dataset::Create(Counting(8), Options()).ok());
  const absl::Status status = Dataset::Create(Counting(100), Options(0.015)).status();
  EXPECT_NE(std::string(status.message()).find("held_out"), std::string::npos) << status;
}

TEST(Dataset, TokenBeyondTheVocabularyIsAnError) {
  DatasetOptions options = Options();
  options.vocab = 100;
  const absl::Status status = Dataset::Create(Counting(300), options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_NE(std::string(status.message()).find("token 100 of 'counting' is 100"), std::string::npos)
      << status;
}

TEST(Dataset, RefusesBoxesAndBuffersThatDoNotFit) {
  const Dataset dataset = Make(1000, Options());
  std::vector<int32_t> out(kBatch * kSequence);
  const absl::Span<int32_t> span = absl::MakeSpan(out);
  EXPECT_FALSE(dataset.FillRows(0, MakeBox({{0, 6}}, {{0, 7}}), span, {}).ok());
  EXPECT_FALSE(dataset.FillRows(0, MakeBox({{0, 4}}, {{0, 7}}), span, {}).ok());
  EXPECT_FALSE(dataset.FillRows(0, Box::Whole({kBatch}), span, {}).ok());
  EXPECT_TRUE(dataset.FillRows(0, Box::Whole({kBatch, kSequence}), span, {}).ok());
  EXPECT_TRUE(dataset.FillRows(0, Box::Whole({kBatch, kSequence}), {}, span).ok());
  EXPECT_FALSE(dataset.FillHeldOutRows(0, Box::Whole({kBatch, kSequence}), span, {}).ok());
}

}  // namespace
}  // namespace weft
