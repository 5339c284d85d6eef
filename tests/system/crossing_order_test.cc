// Two communicators may each have one order on all their ranks and block one another all the same,
// where the compute streams that feed them cross. The compiler gives all streams the order of one
// run, so that its plans do not; plans that do are refused before they run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "graph/graph_builder.h"
#include "kernels/all_ops.h"
#include "parallel/compile.h"
#include "tests/support/plan_builder.h"
#include "tests/system/run_together.h"

namespace weft::testing {
namespace {

using ::testing::HasSubstr;

// A communicator: its number in the plans and its ranks.
using Communicator = std::pair<int, std::vector<int>>;

// The all-reduces of a plan by communicator, in the order of its streams.
std::map<Communicator, std::vector<std::string>> ReducesOf(const Plan& plan) {
  std::map<Communicator, std::vector<std::string>> reduces;
  for (const StreamDef& stream : plan.streams()) {
    for (const int a : stream.order()) {
      if (!plan.actors(a).has_all_reduce()) continue;
      const AllReduceDef& def = plan.actors(a).all_reduce();
      reduces[{def.communicator(), {def.ranks().begin(), def.ranks().end()}}].push_back(
          plan.actors(a).name());
    }
  }
  return reduces;
}

// Every plan uses two communicators of two ranks, and both ranks of each use it in one order: a
// crossing of nothing would prove nothing.
void ExpectTwoThatAgree(const std::vector<Plan>& plans) {
  std::map<Communicator, std::vector<std::vector<std::string>>> orders;
  for (const Plan& plan : plans) {
    const auto reduces = ReducesOf(plan);
    EXPECT_EQ(reduces.size(), 2u) << "on rank " << plan.rank();
    for (const auto& [communicator, order] : reduces) orders[communicator].push_back(order);
  }
  EXPECT_EQ(orders.size(), plans.size());
  for (const auto& [communicator, seen] : orders) {
    ASSERT_EQ(communicator.second.size(), 2u);
    ASSERT_EQ(seen.size(), 2u) << "of communicator " << communicator.first;
    EXPECT_EQ(seen[0], seen[1]);
  }
}

void ExpectRefused(const std::vector<Plan>& plans) {
  const absl::Status refused = CheckTogether(plans);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("would never end together"));
}

// Two ranks and two streams of communication, by hand.
std::vector<Plan> PlansByHand(bool crossing) {
  std::vector<Plan> plans;
  for (int rank = 0; rank < 2; ++rank) {
    PlanBuilder b(rank, 2);
    const int compute = b.Stream("compute"), one = b.Stream("one"), two = b.Stream("two");
    std::vector<int> segments;
    for (const int c : {0, 1}) {
      const int before = b.Actor(absl::StrCat("before", c), compute);
      const int reduce = b.Actor(absl::StrCat("reduce", c), c == 0 ? one : two);
      const int after = b.Actor(absl::StrCat("after", c), compute);
      const int x = b.Channel("x", before, {{reduce}}, 1, 4);
      const int y = b.Channel("y", reduce, {{after}}, 1, 4);
      b.Call(before, "nothing", {}, {b.On(x)});
      b.AllReduce(reduce, c, b.On(x), b.On(y));
      b.Call(after, "nothing", {b.On(y)}, {});
      b.Order({reduce});
      segments.push_back(before);
      segments.push_back(after);
    }
    // Rank 0 finishes with communicator 0 before it begins with 1, rank 1 the other way round.
    if (rank == 1 && crossing) {
      std::swap(segments[0], segments[2]);
      std::swap(segments[1], segments[3]);
    }
    b.Order(segments);
    plans.push_back(b.plan());
  }
  return plans;
}

TEST(CrossingOrder, PlansByHandThatCrossAreRefused) {
  for (const bool crossing : {false, true}) {
    SCOPED_TRACE(crossing);
    const std::vector<Plan> plans = PlansByHand(crossing);
    ExpectTwoThatAgree(plans);
    if (!crossing) {
      EXPECT_TRUE(CheckTogether(plans).ok());
      EXPECT_TRUE(RunByHand(plans, 1).ok());
      continue;
    }
    ExpectRefused(plans);
    EXPECT_THAT(std::string(CheckTogether(plans).message()),
                HasSubstr("`reduce0 on rank 1` of its group"));
    EXPECT_THAT(std::string(RunByHand(plans, 1).message()), HasSubstr("stuck"));
  }
}

class CompiledCrossing : public ::testing::Test {
 protected:
  CompiledCrossing() {
    DefineAllOps(ops_);
    FillCpuKernels(ops_, kernels_);
  }

  // On a 2 x 2 mesh a product that is summed over columns and one that is summed over rows, each
  // read by a computation of its own. One is made in every microbatch and the other once a step, so
  // that they are actors of their own.
  std::vector<Plan> Compiled() {
    GraphBuilder g(ops_, *Mesh::Parse("a:2,b:2"));
    for (const std::string axis : {"a", "b"}) {
      const Rate rate = axis == "a" ? Rate::kMicrobatch : Rate::kStep;
      const auto input = [&](const char* name, const char* layout) {
        const Value v = g.Input(absl::StrCat(name, "_", axis), {{8, 8}, DType::kF32}, rate);
        g.Annotate(v, absl::StrCat("[", axis, ":", layout, "]"));
        return v;
      };
      const Value x = input("x", "S(1)"), w = input("w", "S(0)");
      const Value sum = g.Op("einsum", {x, w}, {{"equation", "bi,io->bo"}}, "sum_" + axis);
      g.Annotate(sum, "[]");
      g.Output("after_" + axis, g.Op("gelu", {sum}, {}, "after_" + axis));
    }
    absl::StatusOr<Graph> graph = g.Build();
    EXPECT_TRUE(graph.ok()) << graph.status();
    const absl::StatusOr<Program> program = Compile(*std::move(graph), ops_, {.microbatches = 2});
    EXPECT_TRUE(program.ok()) << program.status();
    std::vector<Plan> plans;
    for (int rank = 0; rank < 4; ++rank) {
      absl::StatusOr<Plan> plan = InstantiatePlan(*program, rank);
      EXPECT_TRUE(plan.ok()) << plan.status();
      plans.push_back(*std::move(plan));
    }
    return plans;
  }

  absl::Status Run(const std::vector<Plan>& plans, uint64_t seed) {
    SeededRanks ranks(static_cast<int>(plans.size()), seed, TurnsOf(seed));
    for (const Plan& plan : plans) {
      ExecutorOptions options{.kernels = kernels_};
      options.feed = [](std::string_view, int64_t, int64_t, const Operand& out) {
        std::fill_n(out.as<float>(), out.elements(), 1.0f);
        return absl::OkStatus();
      };
      options.fetch = [](std::string_view, int64_t, int64_t, const Operand&) {
        return absl::OkStatus();
      };
      const absl::Status added = ranks.Add(plan, std::move(options));
      if (!added.ok()) return added;
    }
    return ranks.RunSteps(3);
  }

  OpRegistry ops_;
  KernelTable kernels_;
};

TEST_F(CompiledCrossing, OneOrderForAllRanks) {
  const std::vector<Plan> plans = Compiled();
  ExpectTwoThatAgree(plans);
  EXPECT_TRUE(CheckTogether(plans).ok()) << CheckTogether(plans);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const absl::Status ran = Run(plans, seed);
    EXPECT_TRUE(ran.ok()) << seed << ": " << ran;
  }
}

// The same plans with their lists sorted by product: ranks 0 and 3 do all of one before any of the
// other, ranks 1 and 2 the other way round. Every group of two ranks then has a rank of each kind.
TEST_F(CompiledCrossing, ListsThatCrossAreRefused) {
  for (const bool crossing : {false, true}) {
    std::vector<Plan> plans = Compiled();
    for (Plan& plan : plans) {
      const bool other_first = crossing && (plan.rank() == 1 || plan.rank() == 2);
      for (StreamDef& stream : *plan.mutable_streams()) {
        std::stable_partition(
            stream.mutable_order()->begin(), stream.mutable_order()->end(),
            [&](int a) { return absl::StrContains(plan.actors(a).name(), "_b") == other_first; });
      }
    }
    ExpectTwoThatAgree(plans);
    const absl::Status ran = Run(plans, 1);
    if (crossing) {
      ExpectRefused(plans);
      EXPECT_THAT(std::string(ran.message()), HasSubstr("stuck"));
    } else {
      EXPECT_TRUE(CheckTogether(plans).ok()) << CheckTogether(plans);
      EXPECT_TRUE(ran.ok()) << ran;
    }
  }
}

}  // namespace
}  // namespace weft::testing
