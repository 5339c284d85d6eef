#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/einsum_plan.h"
#include "tests/kernels/dense_run.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;

// Extents of the labels in tests: distinct, so that a confusion shows.
int64_t Extent(char label) {
  static const std::string* const kLabels = new std::string("bshndftkmx");
  static const int64_t kExtents[] = {2, 5, 6, 3, 4, 7, 8, 9, 10, 1};
  return kExtents[kLabels->find(label)];
}

Shape ShapeOf(std::string_view labels) {
  Shape shape;
  for (char label : labels) shape.push_back(Extent(label));
  return shape;
}

// Sums over every assignment of indices to labels.
std::vector<double> PlainLoops(const EinsumEquation& e, const Dense& a, const Dense& b) {
  std::string labels(e.a);
  for (char label : e.b) {
    if (labels.find(label) == std::string::npos) labels += label;
  }
  std::vector<double> out(NumElements(ShapeOf(e.out)), 0.0);
  std::vector<int64_t> index(labels.size(), 0);
  const auto offset = [&](std::string_view operand) {
    int64_t at = 0;
    for (char label : operand) at = at * Extent(label) + index[labels.find(label)];
    return at;
  };
  const int64_t total = NumElements(ShapeOf(labels));
  for (int64_t i = 0; i < total; ++i) {
    int64_t rest = i;
    for (size_t d = 0; d < labels.size(); ++d) {
      index[d] = rest % Extent(labels[d]);
      rest /= Extent(labels[d]);
    }
    out[offset(e.out)] += a.values[offset(e.a)] * b.values[offset(e.b)];
  }
  return out;
}

class EinsumEquations : public ::testing::TestWithParam<const char*> {};

TEST_P(EinsumEquations, EqualPlainLoops) {
  const EinsumEquation e = *ParseEinsum(GetParam());
  const struct {
    DType dtype, result;
    double tolerance;
  } cases[] = {{DType::kF32, DType::kF32, 1e-5},   {DType::kF64, DType::kF64, 1e-13},
               {DType::kBF16, DType::kBF16, 2e-2}, {DType::kBF16, DType::kF32, 1e-5},
               {DType::kF16, DType::kF16, 2.5e-3}, {DType::kF16, DType::kF32, 1e-5}};
  for (const auto& [dtype, result, tolerance] : cases) {
    SCOPED_TRACE(absl::StrCat(std::string(Name(dtype)), " into ", std::string(Name(result))));
    const Dense a = RandomDense(ShapeOf(e.a), dtype, 1), b = RandomDense(ShapeOf(e.b), dtype, 2);
    std::vector<double> want = PlainLoops(e, a, b);
    Attrs attrs = {{"equation", std::string(GetParam())}};
    if (result != dtype) attrs.Set("dtype", std::string(Name(result)));
    ExpectClose(RunOp("einsum", attrs, {a, b})[0].values, want, tolerance);
    const Dense present = RandomDense(ShapeOf(e.out), result, 3);
    for (size_t i = 0; i < want.size(); ++i) want[i] += present.values[i];
    DenseRunOptions adds;
    adds.present = {present};
    ExpectClose(RunOp("einsum", attrs, {a, b}, adds)[0].values, want, tolerance);
    // With an addend in place of the present contents, then besides them.
    ExpectClose(RunOp("einsum", attrs, {a, b, present})[0].values, want, tolerance);
    const Dense addend = RandomDense(ShapeOf(e.out), result, 4);
    for (size_t i = 0; i < want.size(); ++i) want[i] += addend.values[i];
    ExpectClose(RunOp("einsum", attrs, {a, b, addend}, adds)[0].values, want, tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Einsum, EinsumEquations,
                         ::testing::Values("bsh,hnd->bsnd", "bsnd,ndh->bsh", "bsh,hf->bsf",
                                           "bsnd,hnd->bsh", "bsh,bsnd->hnd", "bsh,ndh->bsnd",
                                           "bsnd,bsh->ndh", "bsf,hf->bsh", "bsh,bsf->hf",
                                           "bsnd,btnd->bnst", "bnst,btnd->bsnd", "hm,mk->hk",
                                           "mh,mk->hk", "mh,km->hk", "hm,km->kh", "b,s->bs",
                                           "h,h->", "hm,m->h", "h,hm->m", "bsh,hnd->dbns",
                                           "bhs,hs->b", "bsn,ndb->sdb", "hf,k->k", "sb,bs->",
                                           "bsh,bsh->bsh", "bs,bs->sb", "xh,hx->x", "nsdb,dkn->bks",
                                           "mx,xk->mk", ",h->h"));

TEST(Einsum, DecoderProductsNeedNoCopies) {
  for (const char* text : {"bsh,hnd->bsnd", "bsnd,hnd->bsh", "bsh,bsnd->hnd", "bsnd,ndh->bsh",
                           "bsh,ndh->bsnd", "bsnd,bsh->ndh", "bsh,hf->bsf", "bsf,hf->bsh",
                           "bsh,bsf->hf", "bsh,fh->bsf", "bsnd,btnd->bnst"}) {
    const EinsumEquation e = *ParseEinsum(text);
    const EinsumPlan plan = PlanEinsum(e, ShapeOf(e.a), ShapeOf(e.b));
    EXPECT_FALSE(plan.a.used || plan.b.used || plan.c.used) << text;
  }
}

TEST(Einsum, EmptyPartsGiveZerosOrNothing) {
  const Dense a = DenseOf({2, 0}, DType::kF32, {}), b = DenseOf({0, 3}, DType::kF32, {});
  const Attrs attrs = {{"equation", std::string("mk,kn->mn")}};
  EXPECT_EQ(RunOp("einsum", attrs, {a, b})[0].values, std::vector<double>(6, 0.0));
  DenseRunOptions adds;
  adds.present = {RandomDense({2, 3}, DType::kF32, 1)};
  EXPECT_EQ(RunOp("einsum", attrs, {a, b}, adds)[0].values, adds.present[0].values);
  EXPECT_EQ(RunOp("einsum", attrs, {a, b, adds.present[0]})[0].values, adds.present[0].values);
  const Dense none = DenseOf({0, 4}, DType::kF32, {});
  const Dense w = RandomDense({4, 3}, DType::kF32, 2);
  EXPECT_TRUE(RunOp("einsum", attrs, {none, w})[0].values.empty());
}

TEST(Einsum, UnevenPartsOfASummedLabelAddUp) {
  const Dense a = RandomDense({3, 8}, DType::kF64, 1), b = RandomDense({8, 2}, DType::kF64, 2);
  const Attrs attrs = {{"equation", std::string("mk,kn->mn")}};
  std::vector<double> sum(6, 0.0);
  for (const IndexSet& part : {Parts({{0, 3}}), Parts({{3, 4}, {6, 8}}), Parts({{4, 6}})}) {
    const Dense c = RunOp("einsum", attrs, {Cut(a, 1, part), Cut(b, 0, part)})[0];
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += c.values[i];
  }
  ExpectClose(sum, RunOp("einsum", attrs, {a, b})[0].values, 1e-13);
}

// The sum is formed in f32: the product's own rounding to bf16 would lose a part of it.
TEST(Einsum, ASumIsRoundedOnce) {
  const auto bf16 = [](Shape shape, std::vector<double> values) {
    return DenseOf(std::move(shape), DType::kBF16, std::move(values));
  };
  // The product 1 + 2^-8 alone rounds to 1; 1 + 2^-8 + 2^-8 is the number after it.
  const Dense a = bf16({1, 2}, {1, 1.0 / 256}), b = bf16({2, 1}, {1, 1}),
              x = bf16({1, 1}, {1.0 / 256});
  const Attrs attrs = {{"equation", std::string("mk,kn->mn")}};
  EXPECT_EQ(RunOp("einsum", attrs, {a, b})[0].values[0], 1.0);
  EXPECT_EQ(RunOp("einsum", attrs, {a, b, x})[0].values[0], 1 + 1.0 / 128);
}

// 1 + 2^-8 is no bf16 number, alone or as what a present 1 becomes.
TEST(Einsum, AWideResultIsNeverRounded) {
  const Dense a = DenseOf({1, 2}, DType::kBF16, {1, 1.0 / 256});
  const Dense b = DenseOf({2, 1}, DType::kBF16, {1, 1});
  const Attrs attrs = {{"equation", std::string("mk,kn->mn")}, {"dtype", std::string("f32")}};
  const Dense c = RunOp("einsum", attrs, {a, b})[0];
  EXPECT_EQ(c.spec, (TensorSpec{{1, 1}, DType::kF32}));
  EXPECT_EQ(c.values[0], 1 + 1.0 / 256);
  DenseRunOptions adds;
  adds.present = {c};
  EXPECT_EQ(RunOp("einsum", attrs, {a, b}, adds)[0].values[0], 2 + 1.0 / 128);
}

TEST(Einsum, ErrorsNameTheEquationAndShapes) {
  const TensorSpec a{{2, 3}, DType::kF32}, b{{4, 5}, DType::kF32}, c{{3, 5}, DType::kBF16};
  const auto error = [](const std::string& text, const TensorSpec& x, const TensorSpec& y) {
    return std::string(TryInfer("einsum", {{"equation", text}}, {x, y}).message());
  };
  EXPECT_THAT(error("mk,kn->mn", a, b), HasSubstr("label 'k' has two extents"));
  EXPECT_THAT(error("mk,kn->mn", a, b), HasSubstr("f32[2,3]"));
  EXPECT_THAT(error("mk,kn->mn", a, c), HasSubstr("one dtype"));
  EXPECT_THAT(error("mkx,kn->mn", a, b), HasSubstr("one label per dimension"));
  EXPECT_THAT(error("mk,kn", a, b), HasSubstr("not of the form"));
  EXPECT_THAT(error("mm,kn->mn", a, b), HasSubstr("at most once"));
  EXPECT_THAT(error("mk,kn->mz", a, b), HasSubstr("label 'z'"));
  const TensorSpec k5{{3, 5}, DType::kF32}, wide{{2, 5}, DType::kF64};
  const absl::Status addend =
      TryInfer("einsum", {{"equation", std::string("mk,kn->mn")}}, {a, k5, wide});
  EXPECT_THAT(std::string(addend.message()), HasSubstr("addend is f64[2,5]; it must be f32[2,5]"));
  const Attrs narrow = {{"equation", std::string("mk,kn->mn")}, {"dtype", std::string("bf16")}};
  EXPECT_THAT(std::string(TryInfer("einsum", narrow, {a, k5}).message()),
              HasSubstr("f32 operands cannot be made in bf16; its dtype may be theirs"));
}

}  // namespace
}  // namespace weft::testing
