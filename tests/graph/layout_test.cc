#include "graph/layout.h"

#include <gtest/gtest.h>

#include <set>

namespace weft {
namespace {

std::vector<int64_t> Sizes(const char* mesh_text, const char* layout_text, int64_t extent) {
  const Mesh mesh = *Mesh::Parse(mesh_text);
  const Layout layout = *ParseLayout(layout_text, mesh);
  std::vector<int64_t> sizes;
  for (int i = 0; i < mesh.size(); ++i) {
    sizes.push_back(BoxOf({extent}, layout, mesh, i).shape()[0]);
  }
  return sizes;
}

TEST(Layout, ParsesWhatItPrints) {
  const Mesh mesh = *Mesh::Parse("data:2,model:2");
  for (const char* text :
       {"[data:S(0), model:B]", "[data:B, model:P(sum)]", "[data:S(1; zigzag), model:S(1)]"}) {
    auto layout = ParseLayout(text, mesh);
    ASSERT_TRUE(layout.ok()) << layout.status();
    EXPECT_EQ(ToString(*layout, mesh), text);
  }
}

TEST(Layout, UnnamedAxesAreBroadcastInAnyOrder) {
  const Mesh mesh = *Mesh::Parse("data:2,model:2");
  EXPECT_EQ(*ParseLayout("[]", mesh), BroadcastLayout(mesh));
  EXPECT_EQ(*ParseLayout("[model:S(1)]", mesh), (Layout{Sbp::B(), Sbp::S(1)}));
  EXPECT_EQ(*ParseLayout("[model:S(1),data:S(0)]", mesh), (Layout{Sbp::S(0), Sbp::S(1)}));
}

TEST(Layout, RefusesMalformedText) {
  const Mesh mesh = *Mesh::Parse("data:2,model:2");
  for (const char* text :
       {"", "data:S(0)", "[data]", "[stage:B]", "[data:S(0)", "[data:Q]", "[data:S(0), data:B]"}) {
    EXPECT_FALSE(ParseLayout(text, mesh).ok()) << text;
  }
}

TEST(Layout, CheckRefusesIllegalForms) {
  const Mesh mesh = *Mesh::Parse("data:2");
  const TensorSpec f32{{4}, DType::kF32}, boolean{{4}, DType::kBool}, i32{{4}, DType::kI32};
  EXPECT_TRUE(CheckLayout({Sbp::S(0)}, mesh, f32).ok());
  EXPECT_FALSE(CheckLayout({Sbp::S(1)}, mesh, f32).ok());
  EXPECT_FALSE(CheckLayout({}, mesh, f32).ok());
  EXPECT_FALSE(CheckLayout({Sbp::P()}, mesh, boolean).ok());
  EXPECT_TRUE(CheckLayout({Sbp::P()}, mesh, i32).ok());
  EXPECT_FALSE(CheckLayout({Sbp::P(Monoid::kLogAddExp)}, mesh, i32).ok());
}

TEST(Layout, FirstPartsTakeTheRemainder) {
  EXPECT_EQ(Sizes("a:4", "[a:S(0)]", 6), (std::vector<int64_t>{2, 2, 1, 1}));
  EXPECT_EQ(Sizes("a:3", "[a:S(0)]", 2), (std::vector<int64_t>{1, 1, 0}));
}

TEST(Layout, SplitsOfOneDimensionNestInMeshOrder) {
  EXPECT_EQ(Sizes("a:2,b:2", "[a:S(0), b:S(0)]", 6), (std::vector<int64_t>{2, 1, 2, 1}));
  const Mesh mesh = *Mesh::Parse("a:2,b:2");
  const Layout layout = {Sbp::S(0), Sbp::S(0)};
  EXPECT_EQ(BoxOf({6}, layout, mesh, 1).ToString(), "[2:3]");
  EXPECT_EQ(BoxOf({6}, layout, mesh, 2).ToString(), "[3:5]");
}

TEST(Layout, ZigzagPairsFirstAndLastChunks) {
  const Mesh mesh = *Mesh::Parse("a:2");
  const Layout layout = {Sbp::S(0, IndexOrder::kZigzag)};
  EXPECT_EQ(BoxOf({8}, layout, mesh, 0).ToString(), "[0:2+6:8]");
  EXPECT_EQ(BoxOf({8}, layout, mesh, 1).ToString(), "[2:6]");
}

// Parts that have moved on around a ring of 3; those within reach of one's own, where it has ends.
TEST(Layout, TurnedPartsAreOtherCoordinates) {
  const IndexSet whole({0, 10});  // 0:4, 4:7, 7:10
  const auto held = [&](int coordinate, Turn turn) {
    Box box;
    box.dims = {HeldBy(whole, coordinate, 3, Sbp::Turned(Sbp::S(0), turn))};
    return box.ToString();
  };
  EXPECT_EQ(held(0, {.steps = 1}), "[4:7]");
  EXPECT_EQ(held(2, {.steps = 1}), "[0:4]");
  EXPECT_EQ(held(0, {.steps = -1}), "[7:10]");
  EXPECT_EQ(held(1, {.steps = -1, .reach = 2}), "[2:4]");
  EXPECT_EQ(held(1, {.steps = -1, .reach = 9}), "[0:4]");
  EXPECT_EQ(held(1, {.steps = 1, .reach = 1}), "[7:8]");
  EXPECT_EQ(held(2, {.steps = -2, .reach = 4}), "[3:4]");
  EXPECT_EQ(HeldBy(whole, 0, 3, Sbp::Turned(Sbp::S(0), {.steps = -1, .reach = 2})).size(), 0);
  EXPECT_EQ(HeldBy(whole, 2, 3, Sbp::Turned(Sbp::S(0), {.steps = -2, .reach = 3})).size(), 0);
}

TEST(Layout, PartialAndBroadcastAxesDoNotCut) {
  const Mesh mesh = *Mesh::Parse("a:2,b:2");
  EXPECT_EQ(BoxOf({6, 4}, {Sbp::P(), Sbp::B()}, mesh, 3), Box::Whole({6, 4}));
  EXPECT_EQ(BoxOf({}, {Sbp::P(), Sbp::B()}, mesh, 3), Box::Whole({}));
}

// Every element lies in exactly as many boxes as there are ranks along axes that do not cut.
TEST(Layout, BoxesCoverTheTensor) {
  const Mesh mesh = *Mesh::Parse("a:2,b:3");
  const std::vector<Sbp> choices = {Sbp::B(), Sbp::S(0), Sbp::S(1), Sbp::S(0, IndexOrder::kZigzag),
                                    Sbp::S(1, IndexOrder::kZigzag)};
  for (const Shape& shape : {Shape{7, 5}, Shape{1, 2}, Shape{0, 3}, Shape{12, 6}}) {
    for (Sbp a : choices) {
      for (Sbp b : choices) {
        const Layout layout = {a, b};
        const int copies = (a.is_split() ? 1 : 2) * (b.is_split() ? 1 : 3);
        for (int64_t i = 0; i < shape[0]; ++i) {
          for (int64_t j = 0; j < shape[1]; ++j) {
            int held = 0;
            for (int rank = 0; rank < mesh.size(); ++rank) {
              const Box box = BoxOf(shape, layout, mesh, rank);
              held += box.dims[0].ToLocal(i) >= 0 && box.dims[1].ToLocal(j) >= 0;
            }
            ASSERT_EQ(held, copies)
                << ToString(layout, mesh) << " of " << ToString(shape) << " at " << i << "," << j;
          }
        }
      }
    }
  }
}

TEST(Layout, ZigzagOfZigzagStaysSorted) {
  const IndexSet whole(Interval{0, 37});
  for (int part = 0; part < 3; ++part) {
    const IndexSet outer = PartOf(whole, part, 3, IndexOrder::kZigzag);
    int64_t total = 0;
    for (int inner = 0; inner < 2; ++inner) {
      const IndexSet set = PartOf(outer, inner, 2, IndexOrder::kZigzag);
      total += set.size();
      int64_t last = -1;
      for (const Interval& interval : set.intervals()) {
        EXPECT_GT(interval.begin, last);
        EXPECT_GT(interval.size(), 0);
        last = interval.end;
      }
    }
    EXPECT_EQ(total, outer.size());
  }
}

}  // namespace
}  // namespace weft
