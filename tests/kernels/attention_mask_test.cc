// Windows and visible keys of attention and its gradient, against plain loops.
#include <algorithm>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/attention_tiles.h"
#include "tests/kernels/plain_attention.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kC = 21;  // what windows are chosen around; boxes are cut there

// Rounding of the operands' type, relative to a tensor's size: what blocks are held to
// (attention_block_test.cc), and for bf16 a fifth more, as rows of a few values average less.
struct Limits {
  DType dtype;
  double o, gradients;
};
constexpr Limits kLimits[] = {
    {DType::kF64, 1e-13, 1e-12}, {DType::kF32, 5e-6, 1e-5}, {DType::kBF16, 3.1e-3, 4.8e-3}};

IndexSet All(int64_t n) { return Parts({{0, n}}); }

// attention and attention_grad on the rows and keys of these sets, against the plain loops.
void ExpectPlain(const AttentionProblem& p, const IndexSet& rows, const IndexSet& keys) {
  for (const Limits& limits : kLimits) {
    SCOPED_TRACE(std::string(Name(limits.dtype)));
    const AttentionInputs x = RandomAttention(p, limits.dtype);
    AttentionInputs part{Cut(x.q, 1, rows), Cut(x.k, 1, keys), Cut(x.v, 1, keys),
                         Cut(x.doo, 1, rows)};
    // What other rows give dk and dv is not here.
    AttentionInputs masked = x;
    ForEachOfBox(Box::Whole(x.doo.spec.shape), x.doo.spec.shape, [&](int64_t, int64_t at) {
      if (rows.ToLocal(at / (p.heads * p.dv) % p.s) < 0) masked.doo.values[at] = 0;
    });
    const PlainResults want = PlainAttention(p, masked, keys);
    Dense visible = p.Visible();
    if (!visible.absent()) visible = Cut(visible, 1, rows);
    DenseRunOptions options;
    options.boxes = {part.doo.box, Cut(want.lse, 1, rows).box};
    const auto y = RunOp("attention", p.attrs(), {part.q, part.k, part.v, visible}, options);
    EXPECT_LE(RelativeError(y[0].values, Cut(want.o, 1, rows).values), limits.o);
    ExpectClose(y[1].values, Cut(want.lse, 1, rows).values, 2e-5);
    options.boxes = {part.q.box, part.k.box, part.v.box};
    const auto d = RunOp("attention_grad", p.attrs(),
                         {part.doo, part.q, part.k, part.v, y[0], y[1], Dense(), visible}, options);
    const Dense of[] = {Cut(want.dq, 1, rows), Cut(want.dk, 1, keys), Cut(want.dv, 1, keys)};
    for (int i = 0; i < 3; ++i) {
      if (p.window == 1 && i < 2) {  // of one key: 0, to rounding
        ExpectClose(d[i].values, of[i].values, 2 * limits.gradients);
      } else {
        EXPECT_LE(RelativeError(d[i].values, of[i].values), limits.gradients) << i;
      }
    }
  }
}

// Grouped and single key heads, values of another width; all rows and keys, and two pieces of each.
TEST(AttentionMask, WindowsEqualPlainLoops) {
  for (bool causal : {false, true}) {
    for (int64_t window : {int64_t{1}, kC - 1, kC, kC + 1, int64_t{700}}) {
      for (int64_t kv_heads : {1, 2, 4}) {
        AttentionProblem p{.batch = 2, .s = 8 * kC, .t = 8 * kC, .heads = 4, .kv_heads = kv_heads};
        p.d = 6, p.dv = 5;
        p.causal = causal, p.window = window;
        SCOPED_TRACE(absl::StrCat("causal ", causal, " window ", window, " heads ", kv_heads));
        ExpectPlain(p, All(p.s), All(p.t));
        if (kv_heads != 2) continue;
        const IndexSet rows = Parts({{kC, 2 * kC}, {6 * kC, 7 * kC}});
        ExpectPlain(p, rows, Parts({{0, kC}, {5 * kC, 8 * kC}}));
        ExpectPlain(p, rows, rows);
        ExpectPlain(p, All(p.s), Parts({{kC, 2 * kC}, {6 * kC, 7 * kC}}));
      }
    }
  }
}

// More keys than a block has: it begins and ends anywhere.
TEST(AttentionMask, WindowsOverManyBlocks) {
  AttentionProblem p{.s = 1300, .t = 1300, .heads = 1, .kv_heads = 1, .d = 2, .dv = 2};
  p.causal = true;
  for (int64_t window : {70, 600}) {
    p.window = window;
    ExpectPlain(p, All(p.s), All(p.t));
  }
}

std::vector<Interval> Documents(const std::vector<int64_t>& lengths, int64_t batch) {
  std::vector<Interval> visible;
  for (int64_t b = 0; b < batch; ++b) {
    int64_t begin = 0;
    for (int64_t length : lengths) {
      visible.insert(visible.end(), length, Interval{begin, begin + length});
      begin += length;
    }
  }
  return visible;
}

TEST(AttentionMask, PackedDocumentsEqualPlainLoops) {
  for (bool causal : {false, true}) {
    AttentionProblem p{.batch = 2, .s = 698, .t = 698, .heads = 4, .kv_heads = 2, .d = 8, .dv = 8};
    p.causal = causal;
    p.visible = Documents({1, 7, 690}, p.batch);
    ExpectPlain(p, All(p.s), All(p.t));
    p.window = 5;
    ExpectPlain(p, Parts({{0, 100}, {500, 698}}), Parts({{5, 90}, {120, 698}}));
  }
}

// Every row sees what it likes, or nothing; on top of the other masks too.
TEST(AttentionMask, AnyVisibleKeysEqualPlainLoops) {
  for (int64_t window : {0, 30}) {
    for (bool causal : {false, true}) {
      AttentionProblem p{
          .batch = 2, .s = 150, .t = 170, .heads = 2, .kv_heads = 1, .d = 4, .dv = 3};
      p.causal = causal, p.window = window;
      for (int64_t row = 0; row < p.batch * p.s; ++row) {
        const int64_t begin = row * 97 % 180 - 4;
        p.visible.push_back({begin, begin + row * 31 % 90 - 10});
      }
      ExpectPlain(p, All(p.s), All(p.t));
      ExpectPlain(p, Parts({{3, 60}, {80, 149}}), Parts({{0, 33}, {90, 140}}));
    }
  }
}

TEST(AttentionMask, RowsThatSeeNothingAreZero) {
  AttentionProblem p{.s = 3, .t = 3, .heads = 1, .kv_heads = 1, .d = 2, .dv = 2};
  p.visible = {{2, 2}, {0, 3}, {3, 1}};
  const AttentionInputs x = RandomAttention(p, DType::kF32);
  const auto y = RunOp("attention", {}, {x.q, x.k, x.v, p.Visible()});
  const auto d =
      RunOp("attention_grad", {}, {x.doo, x.q, x.k, x.v, y[0], y[1], Dense(), p.Visible()});
  for (int64_t row : {0, 2}) {
    EXPECT_EQ(y[1].values[row], -std::numeric_limits<double>::infinity());
    for (int64_t c : {2 * row, 2 * row + 1}) {
      EXPECT_EQ(y[0].values[c], 0);
      EXPECT_EQ(d[0].values[c], 0);
    }
  }
}

// s rows of a window of w keys: at most w keys and those of a tile's other rows each.
TEST(AttentionMask, AWindowCostsItsKeysAlone) {
  constexpr int64_t kRows = 4096, kWindow = 128;
  const TensorSpec spec{{1, kRows, 1, 1}, DType::kF32};
  const Box box = Box::Whole(spec.shape);
  std::vector<float> values(kRows, 0), scores(kAttentionRows * kAttentionKeys);
  const Operand x{values.data(), &spec, &box, box.shape()};
  const AttentionSize size(spec.shape, spec.shape, spec.shape);
  std::vector<KeyRun> runs(kRows);
  FindKeyRuns(x, x, nullptr, {.causal = true, .window = kWindow}, 0, runs.data());
  int64_t pairs = 0;
  const HeadRows<float> rows = HeadOf<float>(x, 0, 0);
  const absl::Status status =
      ForEachTile(size, 1, runs.data(), rows, MatrixOf(rows, 0), MatrixOf(rows, 0),
                  [&](const AttentionTile<float>& tile) {
                    return ForEachBlock(tile, scores.data(), [&](const KeyBlock& block) {
                      pairs += tile.rows * block.count;
                      return absl::OkStatus();
                    });
                  });
  ASSERT_TRUE(status.ok());
  EXPECT_LE(pairs, kRows * (kWindow + kAttentionRows - 1));
  EXPECT_GE(pairs, (kRows - kWindow) * kWindow);
}

TEST(AttentionMask, TheCostKnowsTheWindow) {
  const OpDef& op = FindOp("attention");
  const auto flops = [&](bool causal, int64_t window) {
    const TensorSpec x{{1, 64, 1, 8}, DType::kF32}, lse{{1, 64, 1}, DType::kF32};
    const std::vector<TensorSpec> inputs = {x, x, x}, outputs = {x, lse};
    const Attrs attrs = WithDefaults(op, {{"causal", causal}, {"window", window}});
    return op.cost(CostContext{inputs, outputs, attrs}).flops;
  };
  EXPECT_EQ(flops(true, 0), flops(true, 64));
  EXPECT_EQ(flops(false, 0), flops(false, 100));
  EXPECT_LT(flops(true, 8), 0.25 * flops(true, 0));
  EXPECT_LT(flops(true, 4), 0.55 * flops(true, 8));
}

TEST(AttentionMask, ErrorsNameTheRemedy) {
  const TensorSpec x{{2, 3, 4, 8}, DType::kF32};
  const auto error = [&](const TensorSpec& visible, int64_t window) {
    return std::string(TryInfer("attention", {{"window", window}}, {x, x, x, visible}).message());
  };
  EXPECT_THAT(error({{2, 3}, DType::kI32}, 0), HasSubstr("must be i32[2,3,2] or absent"));
  EXPECT_THAT(error({{2, 3, 2}, DType::kI64}, 0), HasSubstr("visible"));
  EXPECT_THAT(error({{2, 3, 2}, DType::kI32}, -1), HasSubstr("window is -1"));
}

}  // namespace
}  // namespace weft::testing
