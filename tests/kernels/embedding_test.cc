#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/dense_run.h"

namespace weft::testing {
namespace {

// -1 is padding; 4 is looked up twice.
const Dense& Tokens() {
  static const Dense* const tokens = new Dense(DenseOf({2, 3}, DType::kI32, {4, 0, -1, 6, 4, 2}));
  return *tokens;
}

TEST(Embedding, LooksUpRowsAndZerosPadding) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF64}) {
    const Dense table = RandomDense({7, 5}, dtype, 1);
    const Dense y = RunOp("embedding", {}, {Tokens(), table})[0];
    for (int i = 0; i < 6; ++i) {
      const int token = static_cast<int>(Tokens().values[i]);
      for (int c = 0; c < 5; ++c) {
        EXPECT_EQ(y.values[i * 5 + c], token < 0 ? 0 : table.values[token * 5 + c]);
      }
    }
  }
}

TEST(Embedding, PartsOfTheVocabularyAddUp) {
  const Dense table = RandomDense({7, 5}, DType::kF32, 1);
  std::vector<double> sum(30, 0.0);
  for (const IndexSet& part : {Parts({{0, 1}, {5, 7}}), Parts({{1, 5}}), Parts({})}) {
    const Dense y = RunOp("embedding", {}, {Tokens(), Cut(table, 0, part)})[0];
    for (int i = 0; i < 30; ++i) sum[i] += y.values[i];
  }
  EXPECT_EQ(sum, RunOp("embedding", {}, {Tokens(), table})[0].values);
}

TEST(Embedding, TokensBeyondTheVocabularyAreAnError) {
  const Dense tokens = DenseOf({1}, DType::kI32, {7});
  const auto result = TryRun("embedding", {}, {tokens, RandomDense({7, 5}, DType::kF32, 1)});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(result.status().message()), ::testing::HasSubstr("token 7"));
}

TEST(EmbeddingGrad, IsTheGradientAndAccumulates) {
  const Dense table = RandomDense({7, 5}, DType::kF64, 1),
              dy = RandomDense({2, 3, 5}, DType::kF64, 2);
  const Attrs attrs = {{"vocab", int64_t{7}}};
  const Dense grad = RunOp("embedding_grad", attrs, {Tokens(), dy})[0];
  ExpectGradient(
      [&](const Dense& t) {
        return Inner(RunOp("embedding", {}, {Tokens(), t})[0], dy);
      },
      table, grad);
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    Dense present = RandomDense({7, 5}, dtype, 3), dy2 = RandomDense({2, 3, 5}, dtype, 2);
    Dense exact = dy2;
    exact.spec.dtype = DType::kF64;
    std::vector<double> want = RunOp("embedding_grad", attrs, {Tokens(), exact})[0].values;
    for (size_t i = 0; i < want.size(); ++i) want[i] += present.values[i];
    DenseRunOptions adds;
    adds.present = {present};
    ExpectClose(RunOp("embedding_grad", attrs, {Tokens(), dy2}, adds)[0].values, want,
                dtype == DType::kF32 ? 1e-6 : 1e-2);
  }
}

TEST(EmbeddingGrad, PartsEqualTheWhole) {
  const Dense dy = RandomDense({2, 3, 5}, DType::kF32, 2);
  const Attrs attrs = {{"vocab", int64_t{7}}};
  const Dense whole = RunOp("embedding_grad", attrs, {Tokens(), dy})[0];
  for (const IndexSet& part : {Parts({{0, 1}, {5, 7}}), Parts({{1, 5}}), Parts({})}) {
    DenseRunOptions options;
    options.boxes = {Cut(whole, 0, part).box};
    ExpectPart(RunOp("embedding_grad", attrs, {Tokens(), dy}, options)[0], whole, 0);
  }
  std::vector<double> sum(35, 0.0);
  for (const IndexSet& rows : {Parts({{0, 1}, {2, 3}}), Parts({{1, 2}})}) {
    const Dense part =
        RunOp("embedding_grad", attrs, {Cut(Tokens(), 1, rows), Cut(dy, 1, rows)})[0];
    for (int i = 0; i < 35; ++i) sum[i] += part.values[i];
  }
  ExpectClose(sum, whole.values, 1e-6);
}

}  // namespace
}  // namespace weft::testing
