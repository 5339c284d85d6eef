// Conversions between any two layouts on any two meshes, each rank's part against the host oracle.
#include "parallel/reshard.h"

#include <random>

#include "gtest/gtest.h"
#include "parallel/instantiate_reshard.h"
#include "tests/parallel/reshard_oracle.h"

namespace weft {
namespace {

Mesh M(std::string_view text) {
  absl::StatusOr<Mesh> mesh = Mesh::Parse(text);
  EXPECT_TRUE(mesh.ok()) << mesh.status();
  return *mesh;
}

const Sbp kS0 = Sbp::S(0), kS1 = Sbp::S(1), kB = Sbp::B(), kP = Sbp::P();
const Sbp kMax = Sbp::P(Monoid::kMax), kLse = Sbp::P(Monoid::kLogAddExp);
const Sbp kZigzag = Sbp::S(0, IndexOrder::kZigzag);

TensorSpec F32(Shape shape) { return {std::move(shape), DType::kF32}; }

// All layouts with entries of `options`.
std::vector<Layout> AllLayouts(const Mesh& mesh, const std::vector<Sbp>& options) {
  std::vector<Layout> layouts = {Layout()};
  for (int a = 0; a < mesh.num_axes(); ++a) {
    std::vector<Layout> longer;
    for (const Layout& layout : layouts) {
      for (const Sbp& sbp : options) {
        longer.push_back(layout);
        longer.back().push_back(sbp);
      }
    }
    layouts = std::move(longer);
  }
  return layouts;
}

// Converts, checks every intermediate layout, and returns the bytes sent; predicted ones agree.
int64_t Convert(const TensorSpec& spec, const Layout& from, const Mesh& from_mesh, const Layout& to,
                const Mesh& to_mesh) {
  SCOPED_TRACE(testing::Message() << spec.ToString() << " " << from_mesh.ToString()
                                  << ToString(from, from_mesh) << " -> " << to_mesh.ToString()
                                  << ToString(to, to_mesh));
  auto steps = PlanReshard(spec, from, from_mesh, to, to_mesh, CostModel());
  EXPECT_TRUE(steps.ok()) << steps.status();
  if (!steps.ok()) return -1;
  const std::vector<double> logical = LogicalArray(spec);
  Parts parts = Cut(logical, spec, from, from_mesh);
  int64_t bytes = 0, predicted = 0;
  for (const ReshardStep& step : *steps) {
    parts = Execute(step, spec, parts, &bytes);
    predicted += TotalBytesSent(step, spec);
    EXPECT_EQ(Mismatch(parts, logical, spec, step.to, step.to_mesh), "") << step.ToString();
  }
  EXPECT_EQ(Mismatch(parts, logical, spec, to, to_mesh), "");
  EXPECT_EQ(bytes, predicted);
  return bytes;
}

void ConvertAll(const std::vector<Shape>& shapes, const Mesh& from_mesh, const Mesh& to_mesh,
                const std::vector<Sbp>& options) {
  for (const Shape& shape : shapes) {
    for (const Layout& from : AllLayouts(from_mesh, options)) {
      for (const Layout& to : AllLayouts(to_mesh, options)) {
        Convert(F32(shape), from, from_mesh, to, to_mesh);
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST(Reshard, OneAxisSameMesh) {
  for (const char* mesh : {"x:2@0,1", "x:3@1,2,3", "x:4"}) {
    ConvertAll({{8, 8, 4}, {5, 7}, {13, 5}, {3, 4}, {0, 4}}, M(mesh), M(mesh),
               {kS0, kS1, kB, kP, kMax, kLse, kZigzag});
  }
}

TEST(Reshard, OneAxisOtherMesh) {
  const std::pair<const char*, const char*> meshes[] = {{"x:4", "x:4@4,5,6,7"},
                                                        {"x:3@1,2,3", "x:3@0,1,3"},
                                                        {"x:4", "x:2"},
                                                        {"x:2", "x:4"},
                                                        {"x:1", "x:4"},
                                                        {"x:4", "x:1"},
                                                        {"x:3@0,1,3", "x:3@1,2,3"}};
  for (const auto& [from, to] : meshes) {
    ConvertAll({{8, 8, 4}, {5, 7}}, M(from), M(to), {kS0, kS1, kB, kP, kMax});
  }
}

TEST(Reshard, TwoAxes) {
  const Mesh f = M("a:2,b:2"), g = M("a:2,b:2@3,0,1,2");
  ConvertAll({{8, 4}, {5, 7}, {6, 4}}, f, f, {kS0, kS1, kB, kP, kMax});
  ConvertAll({{5, 7}}, f, g, {kS0, kS1, kB, kP});
  ConvertAll({{13, 5}}, M("a:2,b:3"), M("a:2,b:3"), {kZigzag, kS1, kB, kP, kLse});
}

TEST(Reshard, OneAxisToTwoAndBack) {
  const Mesh f = M("a:2,b:2"), d = M("x:4");
  for (const auto& [from, to] :
       {std::pair{d, f}, {f, d}, {M("x:3@1,2,3"), M("a:2,b:2@3,0,1,2")}, {f, M("x:3@0,1,3")}}) {
    ConvertAll({{5, 7}}, from, to, {kS0, kS1, kB, kP});
  }
  ConvertAll({{5, 7}}, f, M("a:2,b:3@0,3,4,2,5,6"), {kS0, kS1, kB, kP});
}

TEST(Reshard, CoincidingLayoutsOfOtherMeshesAreFree) {
  const TensorSpec spec = F32({8, 4});
  const Mesh d = M("x:4"), i = M("a:1,b:4"), j = M("a:4,b:1");
  for (const Sbp& sbp : {kS0, kS1, kB, kP}) {
    for (const Sbp& other : {kS0, kB, kP}) {
      EXPECT_EQ(Convert(spec, {sbp}, d, {other, sbp}, i), 0);
      EXPECT_EQ(Convert(spec, {other, sbp}, i, {sbp}, d), 0);
      EXPECT_EQ(Convert(spec, {sbp}, d, {sbp, other}, j), 0);
      EXPECT_EQ(Convert(spec, {sbp, other}, j, {sbp}, d), 0);
    }
  }
}

TEST(Reshard, NestedSplitsAreNotOneSplit) {
  const Mesh d = M("x:4"), f = M("a:2,b:2");
  EXPECT_GT(Convert(F32({6, 4}), {kS0, kS0}, f, {kS0}, d), 0);
  EXPECT_GT(Convert(F32({6, 4}), {kS0}, d, {kS0, kS0}, f), 0);
  EXPECT_EQ(Convert(F32({8, 4}), {kS0, kS0}, f, {kS0}, d), 0);
  EXPECT_EQ(Convert(F32({8, 4}), {kS0}, d, {kS0, kS0}, f), 0);
  // The trap of pricing by axes alone: the inner split changes when the outer one appears.
  EXPECT_GT(Convert(F32({8, 4}), {kB, kS0}, f, {kS0, kS0}, f), 0);
}

TEST(Reshard, ThreeAxes) {
  const Mesh l = M("a:2,b:2,c:2");
  const std::vector<Layout> layouts = AllLayouts(l, {kS0, kS1, kB, kP, kMax});
  std::mt19937 random(7);
  for (int i = 0; i < 64; ++i) {
    Convert(F32({7, 6}), layouts[random() % layouts.size()], l, layouts[random() % layouts.size()],
            l);
  }
}

TEST(Reshard, LaterDimensions) {
  const Mesh d = M("x:4");
  ConvertAll({{4, 4, 5, 7}}, d, d, {Sbp::S(2), Sbp::S(3), kB, kP});
}

TEST(Reshard, ScalarsAndOtherTypes) {
  const Mesh f = M("a:2,b:2");
  ConvertAll({{}}, f, f, {kB, kP, kMax});
  for (DType dtype : {DType::kBF16, DType::kI32, DType::kBool}) {
    Convert({{5, 7}, dtype}, {kS0, kS1}, f, {kB, kS0}, f);
  }
}

TEST(Reshard, IllegalLayoutsAreErrors) {
  const Mesh d = M("x:4");
  auto plan = [&](TensorSpec spec, Sbp from, Sbp to) {
    return PlanReshard(spec, {from}, d, {to}, d, CostModel()).status().code();
  };
  EXPECT_EQ(plan({{4}, DType::kBool}, kP, kB), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(plan(F32({4}), kB, kS1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(plan({{4}, DType::kI32}, kLse, kB), absl::StatusCode::kInvalidArgument);
}

TEST(Reshard, MixedMonoidsReduceInnermostFirst) {
  const Mesh f = M("a:2,b:2");
  EXPECT_EQ(MakeReshardStep(F32({4}), {kP, kMax}, f, {kB, kMax}, f).status().code(),
            absl::StatusCode::kFailedPrecondition);
  ConvertAll({{4, 4}}, f, f, {kP, kMax, kB});
}

TEST(Reshard, ChainsEndWhereTheyBegan) {
  std::mt19937 random(1);
  const Mesh meshes[] = {M("x:4"), M("a:2,b:2"), M("a:2,b:3@5,1,0,2,3,4"), M("x:3@1,2,6")};
  for (int seed = 0; seed < 500 && !testing::Test::HasFailure(); ++seed) {
    const TensorSpec spec = F32({1 + static_cast<int64_t>(random() % 7), 5});
    const std::vector<double> logical = LogicalArray(spec);
    const Mesh* mesh = &meshes[random() % 4];
    Layout layout = BroadcastLayout(*mesh);
    Parts parts = Cut(logical, spec, layout, *mesh);
    for (int hop = 0; hop < 8; ++hop) {
      const Mesh* next_mesh = &meshes[random() % 4];
      const auto layouts = AllLayouts(*next_mesh, {kS0, kS1, kB, kP, kMax, kZigzag});
      const Layout next = layouts[random() % layouts.size()];
      auto steps = PlanReshard(spec, layout, *mesh, next, *next_mesh, CostModel());
      ASSERT_TRUE(steps.ok()) << steps.status();
      int64_t bytes = 0;
      for (const ReshardStep& step : *steps) parts = Execute(step, spec, parts, &bytes);
      layout = next;
      mesh = next_mesh;
      ASSERT_EQ(Mismatch(parts, logical, spec, layout, *mesh), "") << "seed " << seed;
    }
  }
}

// OneFlow's table (arXiv 2110.15032, table 2) for one axis of 4 ranks and even splits; |T| is large
// enough that an all-reduce goes in two steps.
TEST(Reshard, BytesAreThoseOfTheTable) {
  const TensorSpec spec = F32({64, 1024});
  const int64_t t = spec.bytes();
  const Mesh d = M("x:4"), k = M("x:4@4,5,6,7");
  struct Row {
    Sbp from, to;
    int64_t same, disjoint;
  };
  for (const Row& row : {Row{kS0, kS0, 0, t},
                         {kS0, kS1, t * 3 / 4, t},
                         {kS0, kB, 3 * t, 4 * t},
                         {kS0, kP, 0, t},
                         {kB, kS0, 0, t},
                         {kB, kB, 0, 4 * t},
                         {kB, kP, 0, t},
                         {kP, kS0, 3 * t, 4 * t},
                         {kP, kB, 6 * t, 7 * t},
                         {kP, kP, 0, 4 * t}}) {
    auto bytes = [&](const Mesh& to_mesh) {
      auto steps = PlanReshard(spec, {row.from}, d, {row.to}, to_mesh, CostModel());
      EXPECT_TRUE(steps.ok()) << steps.status();
      int64_t total = 0;
      for (const ReshardStep& step : *steps) total += TotalBytesSent(step, spec);
      return total;
    };
    EXPECT_EQ(bytes(d), row.same) << row.from.ToString() << " -> " << row.to.ToString();
    EXPECT_LE(bytes(k), row.disjoint) << row.from.ToString() << " -> " << row.to.ToString();
  }
}

TEST(Reshard, PartialToBroadcastIsOneAllReduce) {
  const Mesh f = M("data:2,model:2");
  auto steps = PlanReshard(F32({64, 512}), {kS0, kP}, f, {kS0, kB}, f, CostModel());
  ASSERT_TRUE(steps.ok()) << steps.status();
  ASSERT_EQ(steps->size(), 1);
  EXPECT_EQ(steps->front().ToString(), "all-reduce over model");
  auto work = InstantiateStep(steps->front(), F32({64, 512}), 3);
  ASSERT_TRUE(work.ok() && work->all_reduce);
  EXPECT_EQ(std::vector<int>(work->all_reduce->ranks().begin(), work->all_reduce->ranks().end()),
            (std::vector<int>{2, 3}));
}

}  // namespace
}  // namespace weft
