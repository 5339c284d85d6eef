// Which steps the planner finds. That they do what they say is shown by running them
// (tests/system/reshard_test.cc), how many bytes they may send by reshard_bytes_test.cc.
#include "parallel/reshard.h"

#include <string>

#include "gtest/gtest.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/reshard_cost.h"
#include "tests/parallel/priced_reshard.h"
#include "tests/support/reshard_cases.h"

namespace weft {
namespace {

using testing::Lying;
using testing::PlanOf;
using testing::Priced;
using testing::ReshardCase;
using testing::ReshardCases;

Mesh M(std::string_view text) {
  absl::StatusOr<Mesh> mesh = Mesh::Parse(text);
  EXPECT_TRUE(mesh.ok()) << mesh.status();
  return *mesh;
}

const Sbp kS0 = Sbp::S(0), kS1 = Sbp::S(1), kB = Sbp::B(), kP = Sbp::P();
const Sbp kMax = Sbp::P(Monoid::kMax), kLse = Sbp::P(Monoid::kLogAddExp);

TensorSpec F32(Shape shape) { return {std::move(shape), DType::kF32}; }

// How a rank's share adds up: what ranks send is what others receive.
TEST(Reshard, BytesOfTheRanksAddUp) {
  for (const ReshardCase& c : ReshardCases::All()) {
    if (c.row != "B3" && c.row != "B5" && c.row != "X6") continue;
    for (const ReshardStep& step : PlanOf(c.spec, c.from(), c.to()).steps) {
      int64_t sent = 0;
      for (int rank = 0; rank < 8; ++rank) sent += BytesSent(step, c.spec, rank);
      EXPECT_EQ(sent, TotalBytesSent(step, c.spec)) << c.ToString();
    }
  }
}

TEST(Reshard, CoincidingLayoutsOfOtherMeshesAreFree) {
  const Mesh d = M("x:4"), i = M("a:1,b:4"), j = M("a:4,b:1");
  for (const Sbp& sbp : {kS0, kS1, kB, kP}) {
    for (const Sbp& other : {kS0, kB, kP}) {
      EXPECT_EQ(PlanOf(F32({8, 4}), {{sbp}, d}, {{other, sbp}, i}).bytes, 0);
      EXPECT_EQ(PlanOf(F32({8, 4}), {{other, sbp}, i}, {{sbp}, d}).bytes, 0);
      EXPECT_EQ(PlanOf(F32({8, 4}), {{sbp}, d}, {{sbp, other}, j}).bytes, 0);
      EXPECT_EQ(PlanOf(F32({8, 4}), {{sbp, other}, j}, {{sbp}, d}).bytes, 0);
    }
  }
}

TEST(Reshard, NestedSplitsAreNotOneSplit) {
  const Lying d{{kS0}, M("x:4")}, f{{kS0, kS0}, M("a:2,b:2")};
  EXPECT_GT(PlanOf(F32({6, 4}), f, d).bytes, 0);
  EXPECT_GT(PlanOf(F32({6, 4}), d, f).bytes, 0);
  EXPECT_EQ(PlanOf(F32({8, 4}), f, d).bytes, 0);
  EXPECT_EQ(PlanOf(F32({8, 4}), d, f).bytes, 0);
  // The trap of pricing by axes alone: the inner split changes when the outer one appears. Half of
  // what each rank gets it has already, if the halves meet.
  EXPECT_EQ(PlanOf(F32({8, 4}), {{kB, kS0}, f.mesh}, f).bytes, 8 * 4 * 4 / 2);
}

TEST(Reshard, IllegalLayoutsAreErrors) {
  const Mesh d = M("x:4");
  const auto status = [&](TensorSpec spec, Sbp from, Sbp to) {
    return PlanReshard(spec, {from}, d, {to}, d, CostModel()).status();
  };
  EXPECT_EQ(status({{4}, DType::kBool}, kP, kB).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status({{4}, DType::kBool}, kB, kP).message(),
            "[x:P(sum)] of bool[4]: values of bool do not combine by sum");
  EXPECT_EQ(status({{4}, DType::kBool}, kLse, kB).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status({{4}, DType::kI32}, kLse, kB).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status(F32({4}), kB, kS1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(status({{4}, DType::kBool}, kMax, kB).ok());
}

TEST(Reshard, MixedMonoidsReduceInnermostFirst) {
  const Mesh f = M("a:2,b:2");
  EXPECT_EQ(MakeReshardStep(F32({4}), {kP, kMax}, f, {kB, kMax}, f).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_GT(PlanOf(F32({4}), {{kP, kMax}, f}, {{kB, kMax}, f}).steps.size(), 1u);
}

// Where kernels make all-reduces, large sums are scattered and gathered by exchanges, over the
// outermost dimension where that splits evenly: its parts are runs of memory.
TEST(Reshard, DearAllReducesBecomeExchangesOfRuns) {
  const Mesh f = M("model:2");
  CostModel cost;
  const auto steps = [&](const Shape& shape) {
    const auto path = PlanReshard(F32(shape), {kP}, f, {kB}, f, cost);
    EXPECT_TRUE(path.ok()) << path.status();
    return *path;
  };
  ASSERT_EQ(steps({4, 4096, 64}).size(), 1u);
  EXPECT_EQ(steps({4, 4096, 64})[0].kind, ReshardStep::Kind::kAllReduce);
  cost.all_reduce_factor = 2;
  ASSERT_EQ(steps({4, 4096, 64}).size(), 2u);
  EXPECT_EQ(steps({4, 4096, 64})[0].to, Layout{kS0});
  EXPECT_EQ(steps({1, 4096, 64})[0].to, Layout{kS1});
  EXPECT_EQ(steps({3, 4096, 64})[0].to, Layout{kS1});
  EXPECT_EQ(steps({2}).size(), 1u) << "latency counts alone";
}

// A step is priced by the link of the axis that it changes; all else by the link of all ranks.
TEST(Reshard, PricesFollowTheLinksOfTheAxis) {
  const Mesh f = M("data:2,model:2");
  const TensorSpec spec = F32({64, 512});
  CostModel cost;
  cost.groups = {{"model", 2, {1e-3, 1e6}}, {"data", 4, {1, 1}}};
  const auto link = [&](const Layout& from, const Layout& to) {
    const auto step = MakeReshardStep(spec, from, f, to, f);
    EXPECT_TRUE(step.ok()) << step.status();
    return LinkOf(*step, cost);
  };
  EXPECT_EQ(link({kS0, kP}, {kS0, kB}).latency, 1e-3);
  EXPECT_EQ(link({kS0, kP}, {kS0, kS1}).bytes_per_second, 1e6);
  EXPECT_EQ(link({kP, kB}, {kB, kB}).latency, cost.link_latency);
  EXPECT_EQ(link({kS0, kS1}, {kB, kB}).latency, 1e-3);  // both: the slower
  const auto across = MakeReshardStep(spec, {kB}, M("model:2"), {kB}, M("model:2@2,3"));
  ASSERT_TRUE(across.ok()) << across.status();
  EXPECT_EQ(LinkOf(*across, cost).latency, cost.link_latency);

  const auto seconds = [&](const CostModel& with) {
    return ReshardSeconds(spec, {kS0, kP}, f, {kS0, kB}, f, with).value();
  };
  EXPECT_GT(seconds(cost), 10 * seconds(CostModel()));
  cost.groups[0].size = 4;
  EXPECT_EQ(seconds(cost), seconds(CostModel()));
}

TEST(Reshard, PartialToBroadcastIsOneAllReduce) {
  const Mesh f = M("data:2,model:2");
  const Priced plan = PlanOf(F32({64, 512}), {{kS0, kP}, f}, {{kS0, kB}, f});
  ASSERT_EQ(plan.steps.size(), 1u);
  EXPECT_EQ(plan.steps.front().ToString(), "all-reduce over model");
  auto work = InstantiateStep(plan.steps.front(), F32({64, 512}), 3);
  ASSERT_TRUE(work.ok() && work->all_reduce);
  EXPECT_EQ(std::vector<int>(work->all_reduce->ranks().begin(), work->all_reduce->ranks().end()),
            (std::vector<int>{2, 3}));
}

}  // namespace
}  // namespace weft
