#include "graph/mesh.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(Mesh, DefaultIsOneRank) {
  const Mesh mesh;
  EXPECT_EQ(mesh.size(), 1);
  EXPECT_EQ(mesh.num_axes(), 0);
  EXPECT_EQ(mesh.IndexOf(0), 0);
  EXPECT_EQ(mesh.ToString(), "");
}

TEST(Mesh, ParsesWhatItPrints) {
  for (const char* text : {"", "data:2", "data:2,model:3", "data:2,model:2@4-7", "@3", "a:1,b:1",
                           "data:2@1,0", "data:8@0-3,8-11", "data:4@8,0-2"}) {
    auto mesh = Mesh::Parse(text);
    ASSERT_TRUE(mesh.ok()) << text << ": " << mesh.status();
    EXPECT_EQ(mesh->ToString(), text);
  }
}

TEST(Mesh, FirstAxisIsMajor) {
  const Mesh mesh = *Mesh::Parse("data:2,model:3");
  EXPECT_EQ(mesh.size(), 6);
  EXPECT_EQ(mesh.Coordinate(4, 0), 1);
  EXPECT_EQ(mesh.Coordinate(4, 1), 1);
  EXPECT_EQ(mesh.Line(4, 0), (std::vector<int>{1, 4}));
  EXPECT_EQ(mesh.Line(4, 1), (std::vector<int>{3, 4, 5}));
}

TEST(Mesh, IndexOfCountsPlacesNotRanks) {
  const Mesh mesh = *Mesh::Parse("data:2@7,5");
  EXPECT_EQ(mesh.IndexOf(7), 0);
  EXPECT_EQ(mesh.IndexOf(5), 1);
  EXPECT_EQ(mesh.IndexOf(0), -1);
}

TEST(Mesh, RanksMayBeListedOneByOne) {
  EXPECT_EQ(*Mesh::Parse("data:4@4,5,6,7"), *Mesh::Parse("data:4@4-7"));
}

TEST(Mesh, CutsAlongAnAxis) {
  const std::vector<Mesh> stages = Mesh::Parse("data:2,stage:3,model:2")->Cut(1);
  ASSERT_EQ(stages.size(), 3u);
  EXPECT_EQ(stages[0], *Mesh::Parse("data:2,model:2@0,1,6,7"));
  EXPECT_EQ(stages[2], *Mesh::Parse("data:2,model:2@4,5,10,11"));
  const std::vector<Mesh> single = Mesh::Parse("stage:2")->Cut(0);
  EXPECT_EQ(single[1].ranks(), (std::vector<int>{1}));
  EXPECT_EQ(single[1].num_axes(), 0);
}

TEST(Mesh, FindAxis) {
  const Mesh mesh = *Mesh::Parse("data:2,model:3");
  EXPECT_EQ(mesh.FindAxis("model"), 1);
  EXPECT_EQ(mesh.FindAxis("stage"), -1);
}

TEST(Mesh, RefusesWhatIsNotAGrid) {
  for (const char* text : {"data",
                           "data:",
                           "data:0",
                           "data:-1",
                           ":2",
                           "data:2,data:2",
                           "data:2@0",
                           "data:2@0,0",
                           "data:2@0,-1",
                           "data:2@a,b",
                           "data:2@1-0",
                           "data:2@-1-0",
                           "data:3@0-",
                           "@0-9999999999",
                           "data:x",
                           "data:1:2",
                           "data:2@0,1@2",
                           "data:2000000000,model:2000000000",
                           "data:99999999999999999999",
                           "data:1048577"}) {
    EXPECT_FALSE(Mesh::Parse(text).ok()) << text;
  }
}

TEST(Mesh, AxisNamesReadBack) {
  for (const char* name : {"a b", "a,b", "a@b", "a:b", " a", "a]"}) {
    EXPECT_FALSE(Mesh::Create({{name, 2}}).ok()) << name;
  }
}

}  // namespace
}  // namespace weft
