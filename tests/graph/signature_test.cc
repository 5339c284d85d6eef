#include "graph/signature.h"

#include "gtest/gtest.h"

namespace weft {
namespace {

// A product "mk,kn->mn" whose k may be cut in divisors of 4 only.
OpDef Product() {
  return {.name = "product",
          .inputs = {"a", "b"},
          .outputs = {"c"},
          .layout = [](const LayoutContext&) {
            FactorMap map;
            const int m = map.Add({.name = "m"});
            const int n = map.Add({.name = "n", .zigzag = false});
            const int k = map.Add({.name = "k", .reduce = {Monoid::kSum}, .must_divide = 4});
            map.inputs = {{m, k}, {k, n}};
            map.outputs = {{m, n}};
            map.linear = {{.monoid = Monoid::kSum, .inputs = {0}}};
            return map;
          }};
}

std::vector<Signature> Signatures() {
  const std::vector<TensorSpec> inputs = {{{8, 4}}, {{4, 6}}}, outputs = {{{8, 6}}};
  return DeriveSignatures(Product(), inputs, outputs, {});
}

TEST(Signature, FollowsFromTheFactorMap) {
  const Sbp b = Sbp::B();
  const std::vector<Signature> want = {
      {.inputs = {b, b}, .outputs = {b}},
      {.inputs = {Sbp::S(0), b}, .outputs = {Sbp::S(0)}, .factor = 0},
      {.inputs = {Sbp::S(0, IndexOrder::kZigzag), b},
       .outputs = {Sbp::S(0, IndexOrder::kZigzag)},
       .factor = 0},
      {.inputs = {b, Sbp::S(1)}, .outputs = {Sbp::S(1)}, .factor = 1},
      {.inputs = {Sbp::S(1), Sbp::S(0)}, .outputs = {Sbp::P()}, .factor = 2, .must_divide = 4},
      {.inputs = {Sbp::P(), b}, .outputs = {Sbp::P()}},
  };
  EXPECT_EQ(Signatures(), want);
}

// A whole addend would count once for every part of a split sum; it is partial there as the result.
TEST(Signature, AnAddendLiesAsTheResult) {
  OpDef op = Product();
  op.inputs.push_back("addend?");
  op.addend = 2;
  op.layout = [](const LayoutContext& c) {
    FactorMap map = Product().layout(c);
    map.inputs.push_back(map.outputs[0]);
    return map;
  };
  const std::vector<TensorSpec> inputs = {{{8, 4}}, {{4, 6}}, {{8, 6}}}, outputs = {{{8, 6}}};
  const std::vector<Signature> signatures = DeriveSignatures(op, inputs, outputs, {});
  ASSERT_EQ(signatures.size(), Signatures().size());
  for (size_t i = 0; i + 1 < signatures.size(); ++i) {  // the last is the linearity, given as it is
    EXPECT_EQ(signatures[i].inputs[2], signatures[i].outputs[0]) << i;
  }
}

TEST(Signature, PartsOfAllAxesMustDivide) {
  const Signature k = Signatures()[4], m = Signatures()[1];
  EXPECT_TRUE(CheckSignatures({k}, {4}).ok());
  EXPECT_FALSE(CheckSignatures({k}, {3}).ok());
  EXPECT_TRUE(CheckSignatures({k, k}, {2, 2}).ok());
  EXPECT_FALSE(CheckSignatures({k, k}, {4, 2}).ok());
  EXPECT_TRUE(CheckSignatures({k, m}, {4, 3}).ok());
}

TEST(Signature, OneOperandIsPartialByOneMonoid) {
  Signature sum = Signatures()[5], max = sum;
  max.outputs = {Sbp::P(Monoid::kMax)};
  EXPECT_TRUE(CheckSignatures({sum, sum}, {2, 2}).ok());
  EXPECT_FALSE(CheckSignatures({sum, max}, {2, 2}).ok());
}

// "What is x of every head, weighted by w of the head's group": 6 heads in 2 groups. `dw` sums over
// the heads of a group.
OpDef Grouped() {
  return {.name = "grouped",
          .inputs = {"x", "w"},
          .outputs = {"y", "dw"},
          .layout = [](const LayoutContext&) {
            FactorMap map;
            const int group = map.Add({.name = "group"});
            const int head = map.Add({.name = "head", .reduce = {Monoid::kSum}, .runs_of = group});
            const int row = map.Add({.name = "row", .reduce = {Monoid::kSum}});
            map.inputs = {{row, head}, {group}};
            map.outputs = {{row, head}, {group}};
            return map;
          }};
}

std::vector<Signature> GroupedSignatures() {
  const std::vector<TensorSpec> inputs = {{{5, 6}}, {{2}}}, outputs = {{{5, 6}}, {{2}}};
  return DeriveSignatures(Grouped(), inputs, outputs, {});
}

TEST(Signature, RunsAreSplitWithTheirOwnersOrInside) {
  const Sbp b = Sbp::B(), z = Sbp::S(1, IndexOrder::kZigzag), rows = Sbp::S(0);
  const Sbp zigzag_rows = Sbp::S(0, IndexOrder::kZigzag);
  const std::vector<Signature> want = {
      {.inputs = {b, b}, .outputs = {b, b}},
      {.inputs = {Sbp::S(1), Sbp::S(0)},
       .outputs = {Sbp::S(1), Sbp::S(0)},
       .factor = 1,
       .must_divide = 2},
      {.inputs = {Sbp::S(1), b}, .outputs = {Sbp::S(1), Sbp::P()}, .factor = 1},
      {.inputs = {z, b}, .outputs = {z, Sbp::P()}, .factor = 1},
      {.inputs = {rows, b}, .outputs = {rows, Sbp::P()}, .factor = 2},
      {.inputs = {zigzag_rows, b}, .outputs = {zigzag_rows, Sbp::P()}, .factor = 2},
  };
  EXPECT_EQ(GroupedSignatures(), want);
}

TEST(Signature, RunsAreNotSplitAfterTheirInsides) {
  const Signature between = GroupedSignatures()[1], inside = GroupedSignatures()[2];
  EXPECT_TRUE(CheckSignatures({between, inside}, {2, 2}).ok());
  EXPECT_FALSE(CheckSignatures({inside, between}, {2, 2}).ok());
  EXPECT_TRUE(CheckSignatures({inside, between}, {1, 2}).ok());
  EXPECT_FALSE(CheckSignatures({between, inside}, {3, 1}).ok());
  EXPECT_TRUE(CheckSignatures({between, inside}, {2, 7}).ok());
}

// Queries that meet all keys: split together, keys travelling, or alone, what belongs to keys being
// sums then. Keys are not split by themselves.
TEST(Signature, WhatMeetsIsSplitByARingOrAlone) {
  OpDef op{.name = "meet", .inputs = {"q", "k"}, .outputs = {"y", "dk"}};
  op.layout = [](const LayoutContext&) {
    FactorMap map;
    const int key = map.Add({.name = "key"});
    const int query = map.Add({.name = "query", .reduce = {Monoid::kSum}, .meets = key});
    map.inputs = {{query}, {key}};
    map.outputs = {{query}, {key}};
    return map;
  };
  const std::vector<TensorSpec> specs = {{{6}}, {{6}}};
  const Sbp b = Sbp::B(), s = Sbp::S(0), z = Sbp::S(0, IndexOrder::kZigzag);
  const std::vector<Signature> want = {
      {.inputs = {b, b}, .outputs = {b, b}},
      {.inputs = {s, s}, .outputs = {s, s}, .factor = 1, .turning = 0},
      {.inputs = {z, z}, .outputs = {z, z}, .factor = 1, .turning = 0},
      {.inputs = {s, b}, .outputs = {s, Sbp::P()}, .factor = 1},
      {.inputs = {z, b}, .outputs = {z, Sbp::P()}, .factor = 1},
  };
  EXPECT_EQ(DeriveSignatures(op, specs, specs, {}), want);
}

// A result that lacks a factor without `reduce` makes the split illegal, and so does a diagonal.
TEST(Signature, WhatCannotBeSplitIsNot) {
  OpDef op{.name = "op", .inputs = {"x"}, .outputs = {"y"}};
  const std::vector<TensorSpec> inputs = {{{4, 4}}}, outputs = {{{4}}};
  op.layout = [](const LayoutContext&) {
    FactorMap map;
    const int i = map.Add({.name = "i"});
    const int j = map.Add({.name = "j"});
    map.inputs = {{i, j}};
    map.outputs = {{j}};
    return map;
  };
  EXPECT_EQ(DeriveSignatures(op, inputs, outputs, {}).size(), 3u);  // B, j both orders
  op.layout = [](const LayoutContext&) {
    FactorMap map;
    const int i = map.Add({.name = "i"});
    map.inputs = {{i, i}};
    map.outputs = {{i}};
    return map;
  };
  EXPECT_EQ(DeriveSignatures(op, inputs, outputs, {}).size(), 1u);
}

}  // namespace
}  // namespace weft
