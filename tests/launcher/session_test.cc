// What a session promises to those who step through it: the next step is fed and launched while one
// computes, and failures say which step it was.
#include "launcher/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/graph_builder.h"
#include "graph/optimizer.h"
#include "kernels/all_ops.h"
#include "runtime/memory_transport.h"
#include "runtime/progress.h"
#include "runtime/status.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

// How far feeding has come: steps. The gate's kernel looks at it.
Progress* fed = nullptr;
constexpr std::chrono::seconds kPatience{60};

// Lets step s through once step s + 1 is fed; gives up after a minute, so that a failure is no
// hang.
absl::Status GateCpu(const KernelContext& c) {
  std::copy_n(c.in(0).as<float>(), c.in(0).elements(), c.out(0).as<float>());
  const int64_t step = static_cast<int64_t>(c.in(0).as<float>()[0]);
  if (fed == nullptr || fed->AwaitFor(step + 2, kPatience)) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("step ", step + 1, " was not fed while step ", step, " computed"));
}

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() {
    DefineAllOps(ops_);
    ops_.Add(
        {.name = "gate",
         .inputs = {"x"},
         .outputs = {"y"},
         .infer = [](const InferContext& c) -> absl::StatusOr<std::vector<TensorSpec>> {
           return c.Like(0);
         },
         .layout = [](const LayoutContext& c) { return c.Elementwise(); },
         .cost = [](const CostContext& c) { return Cost{.flops = 1, .bytes = 1. * c.bytes()}; },
         .cpu = GateCpu});
    FillCpuKernels(ops_, kernels_);
  }

  // loss = mean of gate(x) over four rows, which hold the step's number.
  Graph MeanGraph(const char* mesh) {
    GraphBuilder g(ops_, *Mesh::Parse(mesh));
    const Value x = g.Input("x", {{4}, DType::kF32});
    g.Annotate(x, "[data:S(0)]");
    const Value mean =
        g.Op("reduce_mean", {g.Op("gate", {x})}, {{"axes", std::vector<int64_t>{0}}});
    g.Output("loss", g.Op("accumulate", {mean}));
    absl::StatusOr<Graph> graph = g.Build();
    EXPECT_TRUE(graph.ok()) << graph.status();
    return *std::move(graph);
  }

  static Session::Feed FeedStepNumbers(int64_t fail_at = -1) {
    return [fail_at](std::string_view, int64_t step, int64_t, const Operand& out) -> absl::Status {
      if (step == fail_at) return absl::InternalError("no more data");
      std::fill_n(out.as<float>(), out.elements(), static_cast<float>(step));
      return absl::OkStatus();
    };
  }

  OpRegistry ops_;
  KernelTable kernels_;
};

TEST_F(SessionTest, TheNextStepIsFedWhileOneComputes) {
  Progress steps_fed;
  fed = &steps_fed;
  testing::RunRanks(1, {}, [&](Transport& transport) {
    Session session(ops_, kernels_, transport);
    const auto feed = [&](std::string_view name, int64_t step, int64_t m, const Operand& out) {
      const absl::Status status = FeedStepNumbers()(name, step, m, out);
      steps_fed.Advance(step + 1);
      return status;
    };
    std::vector<float> losses(8, -1);
    const auto fetch = [&](std::string_view, int64_t step, int64_t, const Operand& in) {
      losses[step] = *in.as<float>();
      return absl::OkStatus();
    };
    auto program = session.Load(MeanGraph("data:1"), {}, feed, fetch);
    ASSERT_TRUE(program.ok()) << program.status();
    EXPECT_EQ((*program)->in_flight(), 0);
    ASSERT_TRUE((*program)->Submit(0).ok());
    for (int64_t step = 1; step < 8; ++step) {
      ASSERT_TRUE((*program)->Submit(step).ok());
      EXPECT_EQ((*program)->in_flight(), 2);
      const absl::StatusOr<int64_t> sent = (*program)->Collect();
      ASSERT_TRUE(sent.ok()) << sent.status();
      EXPECT_EQ(*sent, 0);
      EXPECT_EQ(losses[step - 1], static_cast<float>(step - 1));
    }
    steps_fed.Advance(9);  // lets the last one through
    ASSERT_TRUE((*program)->Collect().ok());
    EXPECT_EQ(losses[7], 7.0f);
  });
  fed = nullptr;
}

TEST_F(SessionTest, AFailureNamesItsStepOnAllRanks) {
  testing::RunRanks(2, {}, [&](Transport& transport) {
    Session session(ops_, kernels_, transport);
    const auto fetch = [](std::string_view, int64_t, int64_t, const Operand&) {
      return absl::OkStatus();
    };
    auto program = session.Load(MeanGraph("data:2"), {},
                                FeedStepNumbers(transport.rank() == 1 ? 3 : -1), fetch, "batch");
    ASSERT_TRUE(program.ok()) << program.status();
    const absl::Status status = (*program)->Run(0, 10);
    EXPECT_EQ(status.message(), "rank 1 failed: actor `feed x`, op `x`, batch 4: no more data");
    EXPECT_EQ((*program)->Submit(10), status);
  });
}

TEST_F(SessionTest, BytesAreThoseOfTheirStep) {
  testing::RunRanks(2, {}, [&](Transport& transport) {
    Session session(ops_, kernels_, transport);
    const auto fetch = [](std::string_view, int64_t, int64_t, const Operand&) {
      return absl::OkStatus();
    };
    auto program = session.Load(MeanGraph("data:2"), {}, FeedStepNumbers(), fetch);
    ASSERT_TRUE(program.ok()) << program.status();
    const int64_t predicted = (*program)->plan().bytes_sent_per_step();
    EXPECT_GT(predicted, 0);
    ASSERT_TRUE((*program)->Submit(0).ok());
    for (int64_t step = 1; step <= 20; ++step) {
      if (step < 20) {
        ASSERT_TRUE((*program)->Submit(step).ok());
      }
      const absl::StatusOr<int64_t> sent = (*program)->Collect();
      ASSERT_TRUE(sent.ok()) << sent.status();
      EXPECT_EQ(*sent, predicted) << step;
    }
    EXPECT_EQ(transport.total_bytes_sent(), 20 * predicted);  // what steps count is what was sent
  });
}

}  // namespace
}  // namespace weft
