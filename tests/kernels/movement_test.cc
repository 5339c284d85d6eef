// Which splits the ops that cut and join rectangles take: any number of parts along every dimension
// that they neither cut nor join. (The op laws run them.)
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "graph/signature.h"
#include "gtest/gtest.h"
#include "tests/kernels/dense_run.h"

namespace weft::testing {
namespace {

using Ints = std::vector<int64_t>;

// Dimensions that some signature splits in all operands and results at once, for 5 parts too.
std::set<int> SplitDims(const std::string& name, const Attrs& given,
                        const std::vector<Shape>& shapes) {
  const OpDef& op = FindOp(name);
  const Attrs attrs = WithDefaults(op, given);
  std::vector<TensorSpec> inputs;
  for (const Shape& shape : shapes) inputs.push_back({shape, DType::kF32});
  const auto outputs = op.infer({inputs, attrs});
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  std::set<int> dims;
  for (const Signature& signature : DeriveSignatures(op, inputs, *outputs, attrs)) {
    if (!signature.outputs[0].is_split() || !CheckSignatures({signature}, {5}).ok()) continue;
    for (const Sbp& sbp : signature.inputs) EXPECT_EQ(sbp, signature.outputs[0]);
    dims.insert(signature.outputs[0].dim());
  }
  return dims;
}

TEST(Movement, SliceSplitsWhatItDoesNotCut) {
  const auto slice = [](const Ints& begins, const Ints& ends) {
    return SplitDims("slice", {{"begins", begins}, {"ends", ends}}, {{6, 4, 7}});
  };
  EXPECT_THAT(slice({0, 0, 0}, {6, 4, 7}), ::testing::ElementsAre(0, 1, 2));
  EXPECT_THAT(slice({0, 1, 0}, {6, 4, 7}), ::testing::ElementsAre(0, 2));
  EXPECT_THAT(slice({2, 0, 0}, {6, 4, 3}), ::testing::ElementsAre(1));
  EXPECT_THAT(slice({0, 2, 0}, {6, 2, 7}), ::testing::ElementsAre(0, 2));
}

TEST(Movement, PadSplitsWhatItDoesNotPad) {
  const auto pad = [](const Ints& begins, const Ints& shape) {
    return SplitDims("pad", {{"begins", begins}, {"shape", shape}}, {{6, 4, 7}});
  };
  EXPECT_THAT(pad({0, 0, 0}, {6, 4, 7}), ::testing::ElementsAre(0, 1, 2));
  EXPECT_THAT(pad({0, 0, 3}, {6, 4, 10}), ::testing::ElementsAre(0, 1));
  EXPECT_THAT(pad({0, 1, 0}, {8, 5, 7}), ::testing::ElementsAre(2));
}

TEST(Movement, ConcatSplitsAllButItsAxis) {
  const auto concat = [](int64_t axis, const std::vector<Shape>& shapes) {
    return SplitDims("concat", {{"axis", axis}}, shapes);
  };
  EXPECT_THAT(concat(0, {{2, 4, 7}, {3, 4, 7}}), ::testing::ElementsAre(1, 2));
  EXPECT_THAT(concat(1, {{6, 4, 7}, {6, 0, 7}}), ::testing::ElementsAre(0, 2));
  EXPECT_THAT(concat(-1, {{6, 4, 7}}), ::testing::ElementsAre(0, 1));
}

}  // namespace
}  // namespace weft::testing
