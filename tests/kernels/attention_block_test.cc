// The block law: attention folded over parts of the keys, in any order, is attention over all keys;
// the gradients of the parts add up to those of all.
#include <algorithm>
#include <vector>

#include "gmock/gmock.h"
#include "graph/layout.h"
#include "gtest/gtest.h"
#include "kernels/wide_row.h"
#include "tests/kernels/plain_attention.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;

struct Folded {
  std::vector<double> o, lse, dq, dk, dv;  // whole
};

IndexSet Share(int64_t n, int part, int parts, IndexOrder order) {
  return weft::PartOf(Parts({{0, n}}), part, parts, order);
}

Dense Zeros(const Dense& like) {
  Dense zeros = like;
  std::fill(zeros.values.begin(), zeros.values.end(), 0.0);
  return zeros;
}

// Puts a part to its place in the whole.
void Put(const Dense& part, std::vector<double>& whole, const Shape& shape) {
  whole.resize(NumElements(shape));
  ForEachOfBox(part.box, shape, [&](int64_t i, int64_t j) { whole[j] = part.values[i]; });
}

// As a ring of `parts` ranks does it: rank r has its rows of q, and takes the keys of rank r +
// turn, r + turn + step, ... in turn. o is made in `dtype` at the end; blocks hand on wide ones.
Folded Fold(const AttentionProblem& p, const AttentionInputs& x, int parts, IndexOrder order,
            int turn, const std::string& dtype) {
  Folded whole;
  std::vector<Dense> dk(parts), dv(parts);
  const int step = turn % 2 == 0 ? 1 : parts - 1;
  for (int rank = 0; rank < parts; ++rank) {
    const IndexSet rows = Share(p.s, rank, parts, order);
    const Dense q = Cut(x.q, 1, rows), doo = Cut(x.doo, 1, rows);
    Dense visible = p.Visible();
    if (!visible.absent()) visible = Cut(visible, 1, rows);
    const TensorSpec lse_spec{{p.batch, p.s, p.heads}, WideDType(x.q.spec.dtype)};
    Box lse_box = Box::Whole(lse_spec.shape);
    lse_box.dims[1] = rows;
    Dense o, lse, dq;
    for (int i = 0; i < parts; ++i) {
      const IndexSet keys = Share(p.t, (rank + turn + i * step) % parts, parts, order);
      Attrs attrs = p.attrs();
      attrs.Set("dtype", i + 1 < parts ? std::string() : dtype);
      DenseRunOptions options;
      options.boxes = {doo.box, lse_box};
      auto y = RunOp("attention_block", attrs,
                     {q, Cut(x.k, 1, keys), Cut(x.v, 1, keys), o, lse, visible}, options);
      o = y[0];
      lse = y[1];
    }
    Put(o, whole.o, x.doo.spec.shape);
    Put(lse, whole.lse, lse_spec.shape);
    DenseRunOptions of_delta;
    of_delta.boxes = {lse_box};
    const Dense delta = RunOp("attention_delta", {}, {doo, o}, of_delta)[0];
    for (int i = 0; i < parts; ++i) {
      const int at = (rank + turn + i * step) % parts;
      const IndexSet keys = Share(p.t, at, parts, order);
      const Dense k = Cut(x.k, 1, keys), v = Cut(x.v, 1, keys);
      DenseRunOptions options;
      options.boxes = {q.box, k.box, v.box};
      auto d = RunOp(
          "attention_block_grad", p.attrs(),
          {doo, q, k, v, lse, delta, visible, dq, dk[at], dv[at], o.spec == doo.spec ? o : Dense()},
          options);
      dq = d[0], dk[at] = d[1], dv[at] = d[2];
    }
    Put(dq, whole.dq, x.q.spec.shape);
  }
  for (int at = 0; at < parts; ++at) {
    Put(dk[at], whole.dk, x.k.spec.shape);
    Put(dv[at], whole.dv, x.v.spec.shape);
  }
  return whole;
}

// The largest relative error of o, and of a gradient.
struct Errors {
  double o, gradients;
};
Errors ErrorsOf(const Folded& got, const PlainResults& want) {
  ExpectClose(got.lse, want.lse.values, 2e-5);
  const auto of = [](const std::vector<double>& x, const Dense& y) {
    return RelativeError(x, y.values);
  };
  return {of(got.o, want.o),
          std::max({of(got.dq, want.dq), of(got.dk, want.dk), of(got.dv, want.dv)})};
}

struct Case {
  const char* name;
  AttentionProblem problem;
};

std::vector<Case> Cases() {
  AttentionProblem full{.batch = 1, .s = 192, .t = 192, .heads = 4, .kv_heads = 4};
  full.d = 32, full.dv = 32;
  AttentionProblem causal = full;
  causal.causal = true;
  AttentionProblem grouped{.batch = 2, .s = 101, .t = 101, .heads = 6, .kv_heads = 2};
  grouped.d = 24, grouped.dv = 16, grouped.causal = true;
  AttentionProblem single = grouped;
  single.kv_heads = 1, single.s = 67, single.causal = false;
  AttentionProblem window = grouped;
  window.window = 30;
  AttentionProblem documents = grouped;
  documents.heads = 2;
  for (int64_t row = 0; row < 2 * 101; ++row) {  // 1, 7, 60 and the rest; some rows see nothing
    const int64_t i = row % 101;
    const Interval seen = i < 1 ? Interval{0, 1} : i < 8 ? Interval{1, 8} : Interval{8, 68};
    documents.visible.push_back(i < 68 ? seen : i % 5 == 0 ? Interval{9, 9} : Interval{68, 101});
  }
  return {{"full", full},     {"causal", causal}, {"grouped", grouped},
          {"single", single}, {"window", window}, {"documents", documents}};
}

TEST(AttentionBlock, FoldingPartsIsAttentionOverAll) {
  for (const Case& c : Cases()) {
    for (const auto& [dtype, of_o, of_gradients] :
         {std::tuple(DType::kF64, 1e-13, 1e-12), std::tuple(DType::kF32, 5e-6, 1e-5),
          std::tuple(DType::kBF16, 2.6e-3, 4e-3)}) {
      const AttentionInputs x = RandomAttention(c.problem, dtype);
      const PlainResults want = PlainAttention(c.problem, x, Parts({{0, c.problem.t}}));
      for (int parts : {1, 2, 3, 4}) {
        for (IndexOrder order : {IndexOrder::kContiguous, IndexOrder::kZigzag}) {
          for (int turn = 0; turn < parts; ++turn) {
            SCOPED_TRACE(absl::StrCat(c.name, " ", std::string(Name(dtype)), " in ", parts,
                                      " from ", turn, " zigzag ", order == IndexOrder::kZigzag));
            const Folded got = Fold(c.problem, x, parts, order, turn, std::string(Name(dtype)));
            const Errors errors = ErrorsOf(got, want);
            ASSERT_LE(errors.o, of_o);
            ASSERT_LE(errors.gradients, of_gradients);
          }
        }
      }
    }
  }
}

// One block over all keys gives the bits that attention gives, which sums no differently.
TEST(AttentionBlock, OneBlockIsAttention) {
  for (const Case& c : Cases()) {
    for (DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
      const AttentionInputs x = RandomAttention(c.problem, dtype);
      Attrs attrs = c.problem.attrs();
      const auto want = RunOp("attention", attrs, {x.q, x.k, x.v, c.problem.Visible()});
      attrs.Set("dtype", std::string(Name(dtype)));
      const auto got =
          RunOp("attention_block", attrs, {x.q, x.k, x.v, Dense(), Dense(), c.problem.Visible()});
      EXPECT_EQ(got[0].values, want[0].values) << c.name;
      EXPECT_EQ(got[1].values, want[1].values) << c.name;
    }
  }
}

// bf16 operands: what is handed on is not rounded to bf16, so more parts give no larger error. But
// cuDNN rounds every block before it is added to the others; and where kernels round nothing to
// bf16, errors are those of f32 sums (1e-6).
TEST(AttentionBlock, TheErrorDoesNotGrowWithTheParts) {
  const double growth = dynamic_cast<CpuKernels*>(DeviceOfTests()) != nullptr ? 1.05 : 1.25;
  for (const Case& c : Cases()) {
    const AttentionInputs x = RandomAttention(c.problem, DType::kBF16);
    const PlainResults want = PlainAttention(c.problem, x, Parts({{0, c.problem.t}}));
    const auto errors = [&](int parts, IndexOrder order) {
      return ErrorsOf(Fold(c.problem, x, parts, order, 0, ""), want);
    };
    const Errors one = errors(1, IndexOrder::kContiguous);
    for (int parts : {2, 4, 8}) {
      for (IndexOrder order : {IndexOrder::kContiguous, IndexOrder::kZigzag}) {
        SCOPED_TRACE(absl::StrCat(c.name, " in ", parts));
        const Errors many = errors(parts, order);
        EXPECT_LE(many.o, growth * std::max(one.o, 1e-6));
        EXPECT_LE(many.gradients, growth * std::max(one.gradients, 1e-6));
      }
    }
  }
}

// Scores that differ by hundreds between parts.
TEST(AttentionBlock, LargeGapsStayFinite) {
  for (const Case& c : Cases()) {
    for (DType dtype : {DType::kF32, DType::kBF16}) {
      for (double factor : {30.0, -3000.0}) {
        AttentionInputs x = RandomAttention(c.problem, dtype);
        for (double& value : x.q.values) value *= factor;
        if (dtype == DType::kBF16) {
          for (double& value : x.q.values) value = Load(BFloat16(static_cast<float>(value)));
        }
        const Folded got = Fold(c.problem, x, 4, IndexOrder::kZigzag, 0, "");
        for (const auto* values : {&got.o, &got.dq, &got.dk, &got.dv}) {
          for (double value : *values) ASSERT_TRUE(std::isfinite(value)) << c.name;
        }
        for (double value : got.lse) ASSERT_FALSE(std::isnan(value) || value > 1e300) << c.name;
      }
    }
  }
}

// Rows that have seen nothing take nothing from an o_before that means nothing, and rows that see
// nothing here keep every bit of what came before.
TEST(AttentionBlock, WhatCameBeforeIsKept) {
  AttentionProblem p{.s = 3, .t = 2, .heads = 1, .kv_heads = 1, .d = 2, .dv = 2};
  p.visible = {{0, 0}, {0, 0}, {0, 2}};
  const AttentionInputs x = RandomAttention(p, DType::kF32);
  const double none = -std::numeric_limits<double>::infinity();
  const Dense o = DenseOf({1, 3, 1, 2}, DType::kF32, {NAN, NAN, 0.3f, 0.7f, NAN, NAN});
  const Dense lse = DenseOf({1, 3, 1}, DType::kF32, {none, 0.1f, none});
  const auto y = RunOp("attention_block", {}, {x.q, x.k, x.v, o, lse, p.Visible()});
  const auto alone = RunOp("attention_block", {}, {x.q, x.k, x.v, Dense(), Dense(), p.Visible()});
  EXPECT_EQ(y[1].values, (std::vector<double>{none, 0.1f, alone[1].values[2]}));
  EXPECT_EQ(y[0].values,
            (std::vector<double>{0, 0, 0.3f, 0.7f, alone[0].values[4], alone[0].values[5]}));
}

TEST(AttentionBlock, NoKeysChangeNothing) {
  AttentionProblem p{.s = 2, .t = 3, .heads = 1, .kv_heads = 1, .d = 2, .dv = 2};
  const AttentionInputs x = RandomAttention(p, DType::kF64);
  const IndexSet none;
  const Dense o = RandomDense({1, 2, 1, 2}, DType::kF64, 7),
              lse = RandomDense({1, 2, 1}, DType::kF64, 8);
  const auto y = RunOp("attention_block", {}, {x.q, Cut(x.k, 1, none), Cut(x.v, 1, none), o, lse});
  EXPECT_EQ(y[0].values, o.values);
  EXPECT_EQ(y[1].values, lse.values);
  // Gradients before stay, where no key and where no query is here.
  const Dense dq = RandomDense(x.q.spec.shape, DType::kF64, 9);
  DenseRunOptions options;
  options.boxes = {x.q.box, Cut(x.k, 1, none).box, Cut(x.v, 1, none).box};
  const auto d =
      RunOp("attention_block_grad", {},
            {x.doo, x.q, Cut(x.k, 1, none), Cut(x.v, 1, none), lse, lse, Dense(), dq}, options);
  EXPECT_EQ(d[0].values, dq.values);
  const Dense dk = RandomDense(x.k.spec.shape, DType::kF64, 9);
  options.boxes = {Cut(x.q, 1, none).box, x.k.box, x.v.box};
  const auto e = RunOp("attention_block_grad", {},
                       {Cut(x.doo, 1, none), Cut(x.q, 1, none), x.k, x.v, Cut(lse, 1, none),
                        Cut(lse, 1, none), Dense(), Dense(), dk, Dense()},
                       options);
  EXPECT_EQ(e[1].values, dk.values);
  EXPECT_EQ(e[2].values, Zeros(x.v).values);
}

TEST(AttentionBlock, ErrorsNameTheRemedy) {
  const TensorSpec x{{2, 3, 4, 8}, DType::kBF16}, o{{2, 3, 4, 8}, DType::kF32};
  const TensorSpec lse{{2, 3, 4}, DType::kF32};
  const auto error = [&](const Attrs& attrs, std::vector<TensorSpec> inputs) {
    return std::string(TryInfer("attention_block", attrs, inputs).message());
  };
  EXPECT_EQ(error({}, {x, x, x, o, lse}), "");
  EXPECT_THAT(error({{"dtype", std::string("f64")}}, {x, x, x}), HasSubstr("may be bf16 or f32"));
  EXPECT_THAT(error({}, {x, x, x, o}), HasSubstr("both or neither"));
  EXPECT_THAT(error({}, {x, x, x, x, lse}), HasSubstr("must be f32[2,3,4,8]"));
  EXPECT_THAT(error({{"density", 1.5}}, {x, x, x}), HasSubstr("density is 1.5"));
}

}  // namespace
}  // namespace weft::testing
