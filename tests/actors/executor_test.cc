#include "actors/executor.h"

#include <atomic>
#include <thread>

#include "actors/stall_report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/memory_transport.h"
#include "tests/support/plan_builder.h"
#include "tests/support/toy_kernels.h"

namespace weft {
namespace {

using ::testing::HasSubstr;
using testing::PlanBuilder;

// feed -> increment -> fetch on three streams, `microbatches` times a step.
Plan Chain(int microbatches, int slots) {
  PlanBuilder b;
  const int in = b.Stream("in"), compute = b.Stream("compute"), out = b.Stream("out");
  const int feed = b.Actor("feed", in, microbatches);
  const int inc = b.Actor("inc", compute, microbatches);
  const int fetch = b.Actor("fetch", out, microbatches);
  const int x = b.Channel("x", feed, {{inc}}, slots, 4);
  const int y = b.Channel("y", inc, {{fetch}}, slots, 4);
  b.Feed(feed, "x", b.On(x));
  b.Call(inc, "increment", {b.On(x)}, {b.On(y)});
  b.Fetch(fetch, "y", b.On(y));
  for (int m = 0; m < microbatches; ++m) b.Order({feed, inc, fetch});
  return b.plan();
}

class ExecutorTest : public ::testing::Test {
 protected:
  ExecutorOptions Options() {
    ExecutorOptions options{.kernels = kernels_};
    options.feed = [](std::string_view, int64_t step, int64_t microbatch, const Operand& x) {
      for (int64_t i = 0; i < x.elements(); ++i) {
        x.as<float>()[i] = static_cast<float>(step * 1000 + microbatch * 10 + i);
      }
      return absl::OkStatus();
    };
    options.fetch = [this](std::string_view, int64_t step, int64_t microbatch, const Operand& y) {
      for (int64_t i = 0; i < y.elements(); ++i) {
        EXPECT_EQ(y.as<float>()[i], step * 1000 + microbatch * 10 + i + 1);
      }
      ++fetched_;
      return absl::OkStatus();
    };
    return options;
  }
  const KernelTable kernels_ = testing::ToyKernels();
  std::atomic<int> fetched_{0};
};

TEST_F(ExecutorTest, FeedsComputesAndFetches) {
  for (int slots : {1, 2, 3}) {
    fetched_ = 0;
    auto executor = Executor::Create(Chain(4, slots), Options());
    ASSERT_TRUE(executor.ok()) << executor.status();
    ASSERT_TRUE((*executor)->RunSteps(3, 20).ok());
    EXPECT_EQ(fetched_, 80);
    EXPECT_EQ((*executor)->ended(), 20);
  }
}

TEST_F(ExecutorTest, StepsMayBeLaunchedAheadOfWaiting) {
  auto executor = Executor::Create(Chain(2, 1), Options());
  ASSERT_TRUE(executor.ok());
  for (int64_t step = 0; step < 10; ++step) ASSERT_TRUE((*executor)->Launch(step).ok());
  EXPECT_GE((*executor)->ended(), 8);
  ASSERT_TRUE((*executor)->Wait().ok());
  EXPECT_EQ(fetched_, 20);
}

TEST_F(ExecutorTest, CallsAreShownAsFiringsWillMakeThem) {
  // Two microbatches add up in one slot; their input has two.
  PlanBuilder b;
  const int in = b.Stream("in"), compute = b.Stream("compute"), out = b.Stream("out");
  const int feed = b.Actor("feed", in, 2), sum = b.Actor("sum", compute, 2);
  const int fetch = b.Actor("fetch", out);
  const int x = b.Channel("x", feed, {{sum}}, /*slots=*/2, 4);
  const int y = b.Channel("y", sum, {{fetch}}, /*slots=*/1, 4, /*writes_per_slot=*/2);
  b.Feed(feed, "x", b.On(x));
  b.Call(sum, "add", {b.On(x)}, {b.On(y)})->add_accumulate(0);
  b.Fetch(fetch, "y", b.On(y));
  b.Order({feed, sum, feed, sum, fetch});
  auto executor = Executor::Create(b.plan(), Options());
  ASSERT_TRUE(executor.ok()) << executor.status();
  std::vector<const void*> inputs;
  std::vector<bool> adds;
  const auto look = [&](std::string_view name, Kernel kernel, const KernelContext& context) {
    EXPECT_EQ(name, "add");
    EXPECT_EQ(kernel, kernels_.Find("add"));
    inputs.push_back(context.in(0).data);
    adds.push_back(context.adds(0));
    return absl::OkStatus();
  };
  ASSERT_TRUE((*executor)->VisitCalls(look).ok());
  ASSERT_EQ(inputs.size(), 2u);
  EXPECT_NE(inputs[0], inputs[1]);
  EXPECT_EQ(adds, (std::vector<bool>{false, true}));
  EXPECT_EQ((*executor)->launched(), 0);
  const absl::Status status = (*executor)->VisitCalls(
      [](std::string_view, Kernel, const KernelContext&) { return absl::InternalError("no"); });
  EXPECT_THAT(std::string(status.message()), HasSubstr("actor `sum`, op `sum`: no"));
}

TEST_F(ExecutorTest, ASegmentHandsOverBeforeItsEnd) {
  // Two kernels in one actor: what the first writes leaves before the second, which needs that it
  // has arrived, runs.
  static std::atomic<bool> arrived;
  arrived = false;
  KernelTable kernels = testing::ToyKernels();
  kernels.Add("needs arrival", [](const KernelContext&) {
    arrived.wait(false);
    return absl::OkStatus();
  });
  PlanBuilder b;
  const int compute = b.Stream("compute"), out = b.Stream("out");
  const int segment = b.Actor("segment", compute), fetch = b.Actor("fetch", out);
  const int y = b.Channel("y", segment, {{fetch}}, 1, 4);
  b.Call(segment, "nothing", {}, {b.On(y)});
  b.Call(segment, "needs arrival", {}, {});
  b.Early(segment, y, 1);
  b.Fetch(fetch, "y", b.On(y));
  b.Order({segment, fetch});
  ExecutorOptions options{.kernels = kernels};
  options.fetch = [](std::string_view, int64_t, int64_t, const Operand&) {
    arrived = true;
    arrived.notify_all();
    return absl::OkStatus();
  };
  auto executor = Executor::Create(b.plan(), std::move(options));
  ASSERT_TRUE(executor.ok()) << executor.status();
  EXPECT_TRUE((*executor)->Run(0).ok());
}

TEST_F(ExecutorTest, FirstFailureIsReportedAndTheRestIsSkipped) {
  Plan plan = Chain(4, 2);
  plan.mutable_actors(1)->mutable_compute()->mutable_calls(0)->set_kernel("break");
  auto executor = Executor::Create(plan, Options());
  ASSERT_TRUE(executor.ok());
  const absl::Status status = (*executor)->RunSteps(0, 5);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(), "rank 0 failed: actor `inc`, op `inc`, step 1: it broke");
  EXPECT_EQ(fetched_, 0);
  EXPECT_EQ((*executor)->Launch(9), status);
}

TEST_F(ExecutorTest, BadPlansAreRefused) {
  const auto error_of = [&](const Plan& plan) {
    return std::string(Executor::Create(plan, Options()).status().message());
  };
  Plan plan = Chain(2, 2);
  plan.mutable_actors(1)->mutable_compute()->mutable_calls(0)->set_kernel("softmax");
  EXPECT_EQ(error_of(plan),
            "plan of rank 0: actor `inc`: op `inc` (softmax): this device has no kernel `softmax`");
  plan = Chain(2, 2);
  plan.mutable_buffers(1)->set_offsets(1, plan.arena_bytes());
  EXPECT_THAT(error_of(plan), HasSubstr("buffer `y`: 16 bytes at"));
  plan = Chain(2, 2);
  plan.mutable_channels(0)->set_slots(3);
  EXPECT_THAT(error_of(plan), HasSubstr("has 2 addresses for the 3 slots of channel `x`"));
  plan = Chain(2, 2);
  plan.mutable_actors(1)->clear_inputs();
  EXPECT_THAT(error_of(plan), HasSubstr("channels have 4 ends, actors name 3"));
  plan = Chain(2, 2);
  plan.mutable_buffers(0)->clear_offsets();
  plan.mutable_buffers(0)->set_variable("w");
  EXPECT_THAT(error_of(plan), HasSubstr("buffer `x`: there is no variable `w`"));
  plan = Chain(2, 2);
  plan.mutable_streams(0)->set_dynamic(true);
  EXPECT_THAT(error_of(plan), HasSubstr("stream `in` is dynamic"));
  plan = Chain(2, 2);
  plan.mutable_actors(0)->clear_kind();
  EXPECT_THAT(error_of(plan), HasSubstr("actor `feed`: the actor has no kind"));
  plan = Chain(2, 2);
  plan.mutable_channels(0)->mutable_consumers(0)->set_actor(7);
  EXPECT_THAT(error_of(plan), HasSubstr("channel `x`: consumer actor 7 of 3"));
}

TEST_F(ExecutorTest, MessagesThatLeaveTooEarlyAreRefused) {
  const auto error_of = [&](const Plan& plan) {
    return std::string(Executor::Create(plan, Options()).status().message());
  };
  Plan plan = Chain(2, 2);
  plan.mutable_actors(1)->add_full_after(2);
  EXPECT_THAT(error_of(plan), HasSubstr("actor `inc`: full_after 2 of 1 calls"));
  plan.mutable_actors(1)->add_full_after(1);
  EXPECT_THAT(error_of(plan), HasSubstr("actor `inc`: full_after has 2 entries, not 1"));
  plan = Chain(2, 2);
  ComputeDef* inc = plan.mutable_actors(1)->mutable_compute();
  *inc->add_calls() = inc->calls(0);
  inc->mutable_calls(1)->set_name("again");
  plan.mutable_actors(1)->add_free_after(1);
  EXPECT_THAT(error_of(plan), HasSubstr("op `again` uses `x` after its slot has left"));
  plan.mutable_actors(1)->clear_free_after();
  plan.mutable_actors(1)->add_full_after(1);
  EXPECT_THAT(error_of(plan), HasSubstr("op `again` uses `y` after its slot has left"));
}

TEST_F(ExecutorTest, ACallWithoutKernelCopies) {
  Plan plan = Chain(1, 1);
  // feed -> copy -> increment -> fetch.
  ComputeDef* calls = plan.mutable_actors(1)->mutable_compute();
  BufferDef* between = plan.add_buffers();
  *between = plan.buffers(0);
  between->set_name("between");
  between->set_offsets(0, plan.arena_bytes());
  plan.set_arena_bytes(plan.arena_bytes() + 64);
  *calls->add_calls() = calls->calls(0);
  calls->mutable_calls(0)->clear_kernel();
  *calls->mutable_calls(0)->mutable_outputs(0) = PlanBuilder::At(plan.buffers_size() - 1);
  *calls->mutable_calls(1)->mutable_inputs(0) = PlanBuilder::At(plan.buffers_size() - 1);
  auto executor = Executor::Create(plan, Options());
  ASSERT_TRUE(executor.ok()) << executor.status();
  EXPECT_TRUE((*executor)->RunSteps(0, 3).ok());
  EXPECT_EQ(fetched_, 3);
  between->set_dtype(static_cast<int>(DType::kI32));
  EXPECT_THAT(std::string(Executor::Create(plan, Options()).status().message()),
              HasSubstr("a copy has one input and one output of the same box and dtype"));
}

TEST_F(ExecutorTest, APlanThatNeverEndsIsAnErrorNotAHang) {
  PlanBuilder b;
  const int s = b.Stream("s"), t = b.Stream("t");
  const int p = b.Actor("p", s), q = b.Actor("q", t), r = b.Actor("r", t);
  b.Channel("pq", p, {{q}});
  b.Channel("rp", r, {{p}});
  b.Order({p, q, r});  // q before r, but r feeds p and p feeds q
  const absl::Status status = Executor::Create(b.plan(), Options()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("`p` (firing 0) waits: input `rp` from `r`"));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("`q` (firing 0) waits: input `pq` from `p`"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("its turn after `q`"));
}

// A feed that blocks until it is let go.
struct Gate {
  HostFunction Feed() {
    return [this](std::string_view, int64_t, int64_t, const Operand&) {
      open.wait(false);
      return absl::OkStatus();
    };
  }
  void Open() {
    open = true;
    open.notify_all();
  }
  std::atomic<bool> open{false};
};

TEST_F(ExecutorTest, ReportSaysWhoWaitsForWhat) {
  Gate gate;
  ExecutorOptions options = Options();
  std::string report;
  options.feed = gate.Feed();
  options.fetch = [](std::string_view, int64_t, int64_t, const Operand&) {
    return absl::OkStatus();
  };
  options.on_report = [&](const StallReport& stall) {
    report = stall.ToString();
    gate.Open();
  };
  auto executor = Executor::Create(Chain(2, 2), std::move(options));
  ASSERT_TRUE(executor.ok());
  (*executor)->RequestReport();
  ASSERT_TRUE((*executor)->Run(5).ok());
  EXPECT_THAT(report, HasSubstr("rank 0: in step 6"));
  EXPECT_THAT(report, HasSubstr("stream `in`: `feed` (firing 0) runs"));
  EXPECT_THAT(report, HasSubstr("stream `compute`: `inc` (firing 0) waits: input `x` from `feed`, "
                                "slot 1 of 2"));
}

TEST_F(ExecutorTest, DeadlineEndsAStall) {
  Gate gate;
  ExecutorOptions options = Options();
  options.feed = gate.Feed();
  options.deadline = std::chrono::milliseconds(100);
  auto executor = Executor::Create(Chain(2, 2), std::move(options));
  ASSERT_TRUE(executor.ok());
  const absl::Status status = (*executor)->Run(0);
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 0 failed: no progress for 0.1 s"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("`inc` (firing 0) waits: input `x`"));
  gate.Open();
}

TEST_F(ExecutorTest, CancelFromAnotherThreadEndsAllRanks) {
  MemoryNetwork network(2);
  Gate gate;
  Plan plan = Chain(1, 1);
  plan.set_world_size(2);
  ExecutorOptions options = Options();
  options.feed = gate.Feed();
  options.transport = &network.endpoint(0);
  auto executor = Executor::Create(plan, std::move(options));
  ASSERT_TRUE(executor.ok());
  std::thread other([&] {
    (*executor)->Cancel();
    gate.Open();
  });
  const absl::Status status = (*executor)->RunSteps(0, 1000);
  other.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(network.endpoint(1).status(), status);
}

}  // namespace
}  // namespace weft
