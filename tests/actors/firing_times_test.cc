// Firings of the steps asked for are timed, each kernel of them, in the order of their streams.
#include "actors/firing_times.h"

#include <map>
#include <set>
#include <tuple>

#include "actors/executor.h"
#include "gtest/gtest.h"
#include "tests/support/plan_builder.h"
#include "tests/support/toy_kernels.h"

namespace weft {
namespace {

using testing::PlanBuilder;

// feed -> three kernels, in two parts -> fetch, twice a step.
Plan Chain() {
  PlanBuilder b;
  const int in = b.Stream("in"), compute = b.Stream("compute"), out = b.Stream("out");
  const int feed = b.Actor("feed", in, 2), inc = b.Actor("inc", compute, 2);
  const int fetch = b.Actor("fetch", out, 2);
  const int x = b.Channel("x", feed, {{inc}}, 2, 4);
  const int y = b.Channel("y", inc, {{fetch}}, 2, 4);
  b.Feed(feed, "x", b.On(x));
  const int between = b.Buffer("between", 4);
  b.Call(inc, "increment", {b.On(x)}, {PlanBuilder::At(between)});
  b.Call(inc, "increment", {PlanBuilder::At(between)}, {PlanBuilder::At(between)});
  b.Call(inc, "increment", {PlanBuilder::At(between)}, {b.On(y)});
  b.plan().mutable_actors(inc)->add_free_after(1);
  b.plan().mutable_actors(inc)->add_full_after(3);
  b.Fetch(fetch, "y", b.On(y));
  for (int m = 0; m < 2; ++m) b.Order({feed, inc, fetch});
  return b.plan();
}

class FiringTimesTest : public ::testing::Test {
 protected:
  std::unique_ptr<Executor> Make() {
    ExecutorOptions options{.kernels = kernels_};
    options.feed = options.fetch = [](std::string_view, int64_t, int64_t, const Operand&) {
      return absl::OkStatus();
    };
    auto executor = Executor::Create(Chain(), std::move(options));
    EXPECT_TRUE(executor.ok()) << executor.status();
    return *std::move(executor);
  }
  const KernelTable kernels_ = testing::ToyKernels();
};

TEST_F(FiringTimesTest, OfEveryKernelOfTheStepsAskedFor) {
  const auto executor = Make();
  ASSERT_TRUE(executor->TimeSteps(5, 3).ok());
  const int64_t before = HostNanoseconds();
  ASSERT_TRUE(executor->RunSteps(0, 12).ok());
  const int64_t after = HostNanoseconds();
  const auto times = executor->ReadTimes();
  ASSERT_TRUE(times.ok()) << times.status();
  std::set<std::tuple<int, int, int64_t, int64_t>> seen;
  std::map<int, int64_t> ends;  // by stream
  for (const FiringTime& time : *times) {
    EXPECT_TRUE(seen.insert({time.actor, time.call, time.step, time.microbatch}).second);
    EXPECT_GE(time.step, 5);
    EXPECT_LT(time.step, 8);
    EXPECT_LE(before, time.begin);
    EXPECT_LE(time.begin, time.end);
    EXPECT_LE(time.end, after);
    EXPECT_EQ(time.host_bound, 0);
    // Each stream has one actor here: its firings come in order and do not overlap.
    EXPECT_GE(time.begin, ends[time.actor]);
    ends[time.actor] = time.end;
  }
  EXPECT_EQ(seen.size(), 3u * 2 * (1 + 3 + 1));
}

TEST_F(FiringTimesTest, OnlyOfStepsThatRan) {
  const auto executor = Make();
  ASSERT_TRUE(executor->ReadTimes()->empty());
  ASSERT_TRUE(executor->TimeSteps(1, 100).ok());
  ASSERT_TRUE(executor->RunSteps(0, 2).ok());
  EXPECT_EQ(executor->ReadTimes()->size(), 2u * 5);
  // Other steps from here on.
  ASSERT_TRUE(executor->TimeSteps(3, 1).ok());
  ASSERT_TRUE(executor->RunSteps(2, 3).ok());
  const auto times = executor->ReadTimes();
  ASSERT_EQ(times->size(), 2u * 5);
  for (const FiringTime& time : *times) EXPECT_EQ(time.step, 3);
}

// A device that got to a mark before the host had enqueued what comes before it waited for the
// host.
TEST(FiringTimes, TellsHowLongTheHostHeldTheDeviceUp) {
  class Marks final : public TimeMarks {
   public:
    void Set(int64_t, void*) override {}
    absl::StatusOr<TimeMark> Read(int64_t index) override {
      // One run of three calls: enqueued long before, while the device was at it, and too late.
      const TimeMark marks[] = {{100, 10}, {200, 20}, {300, 230}, {400, 500}};
      return marks[index];
    }
  };
  class MarkedDevice final : public CpuDevice {
   public:
    absl::StatusOr<std::unique_ptr<TimeMarks>> MakeTimeMarks(int64_t count) override {
      EXPECT_EQ(count, 4);
      return std::make_unique<Marks>();
    }
  };
  MarkedDevice device;
  const auto times = FiringTimes::Make(device, {{.runs = {3}}}, 0, 1);
  ASSERT_TRUE(times.ok()) << times.status();
  const auto read = (*times)->Read();
  ASSERT_TRUE(read.ok() && read->size() == 3);
  EXPECT_EQ((*read)[0].host_bound, 0);
  EXPECT_EQ((*read)[1].host_bound, 30);
  EXPECT_EQ((*read)[2].host_bound, 100);
}

}  // namespace
}  // namespace weft
