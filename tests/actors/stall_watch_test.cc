#include "actors/stall_watch.h"

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/memory_transport.h"
#include "tests/support/plan_builder.h"
#include "tests/support/toy_kernels.h"

namespace weft {
namespace {

using ::testing::HasSubstr;
using testing::PlanBuilder;

// feed -> all-reduce over all ranks.
Plan Reducing(int rank, int world_size) {
  PlanBuilder b(rank, world_size);
  const int host = b.Stream("host"), network = b.Stream("network");
  const int feed = b.Actor("feed", host), reduce = b.Actor("reduce", network);
  const int x = b.Channel("x", feed, {{reduce}}, 1, 4);
  b.Feed(feed, "x", b.On(x));
  b.AllReduce(reduce, 0, b.On(x), PlanBuilder::At(b.Buffer("y", 4)));
  b.Order({feed, reduce});
  return b.plan();
}

// What the ranks print, and how often.
class Printed {
 public:
  std::function<void(const std::string&)> Printer() {
    return [this](const std::string& text) {
      std::lock_guard<std::mutex> lock(mutex_);
      text_ += text;
      ++count_;
      count_.notify_all();
    };
  }
  void Await() const { count_.wait(0); }
  int count() const { return count_; }
  std::string text() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
  std::atomic<int> count_{0};
};

class StallWatchTest : public ::testing::Test {
 protected:
  StallWatchOptions Options() {
    StallWatchOptions options;
    options.requests = &requests_;
    options.patience = std::chrono::milliseconds(400);
    options.print = printed_.Printer();
    return options;
  }
  // Runs one step of Reducing on `transport` under a watch; `feed` is the rank's host function.
  absl::Status RunRank(Transport& transport, const StallWatchOptions& options,
                       const HostFunction& feed) {
    StallWatch watch(transport, options);
    ExecutorOptions run{.kernels = kernels_, .transport = &transport};
    run.feed = feed;
    run.on_report = [&watch](const StallReport& report) { watch.Answer(report); };
    auto executor = Executor::Create(Reducing(transport.rank(), transport.size()), std::move(run));
    if (!executor.ok()) return executor.status();
    const StallWatch::Scope scope(&watch, executor->get());
    return (*executor)->Run(7);
  }
  static absl::Status Nothing(std::string_view, int64_t, int64_t, const Operand&) {
    return absl::OkStatus();
  }

  const KernelTable kernels_ = testing::ToyKernels();
  std::atomic<int> requests_{0};
  Printed printed_;
};

TEST_F(StallWatchTest, ASignalAtEveryRankPrintsAllReportsOnce) {
  MemoryNetwork network(3);
  std::vector<std::unique_ptr<StallWatch>> watches;
  for (int rank = 0; rank < 3; ++rank) {
    watches.push_back(std::make_unique<StallWatch>(network.endpoint(rank), Options()));
    watches.back()->Doing("counting to " + std::to_string(rank), false);
  }
  ++requests_;
  printed_.Await();
  watches.clear();
  EXPECT_EQ(printed_.count(), 1);
  EXPECT_EQ(printed_.text(),
            "weft: what the ranks do\nrank 0: counting to 0\nrank 1: counting to 1\n"
            "rank 2: counting to 2\nno rank waits for another\n");
  EXPECT_TRUE(network.endpoint(1).status().ok());
}

TEST_F(StallWatchTest, AStepGoesOnAfterASignal) {
  MemoryNetwork network(2);
  std::atomic<bool> open{false};
  absl::Status other;
  std::thread rank1([&] { other = RunRank(network.endpoint(1), Options(), Nothing); });
  std::thread rank0([&] {
    EXPECT_TRUE(RunRank(network.endpoint(0), Options(),
                        [&](std::string_view, int64_t, int64_t, const Operand&) {
                          ++requests_;
                          open.wait(false);
                          return absl::OkStatus();
                        })
                    .ok());
  });
  printed_.Await();
  open = true;
  open.notify_all();
  rank0.join();
  rank1.join();
  EXPECT_TRUE(other.ok()) << other;
  EXPECT_EQ(printed_.count(), 1);
  EXPECT_THAT(printed_.text(),
              HasSubstr("rank 0: in step 8\n  stream `host`: `feed` (firing 0) runs"));
  EXPECT_THAT(printed_.text(), HasSubstr("`reduce` (firing 0) waits: all-reduce with ranks 0,1"));
  EXPECT_THAT(printed_.text(),
              HasSubstr("rank 1 waits for rank 0, which waits for no other rank\n"));
}

TEST_F(StallWatchTest, ADeadlineNamesTheAbsentRankAndEndsTheOthers) {
  for (const int absent : {2, 0}) {  // without rank 0 another rank gathers
    MemoryNetwork network(3);
    Printed printed;
    StallWatchOptions options = Options();
    options.deadline = std::chrono::milliseconds(150);
    options.print = printed.Printer();
    std::vector<absl::Status> statuses(3);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == absent) continue;
      threads.emplace_back(
          [&, rank] { statuses[rank] = RunRank(network.endpoint(rank), options, Nothing); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(printed.count(), 1);
    const std::string who = "rank " + std::to_string(absent);
    EXPECT_THAT(printed.text(), HasSubstr("made no progress for 0.15 s\n"));
    EXPECT_THAT(printed.text(), HasSubstr("\n" + who + ": absent, no answer for 0.4 s\n"));
    EXPECT_THAT(printed.text(), HasSubstr("\n" + who + " does not answer"));
    EXPECT_THAT(printed.text(), HasSubstr("rank 1: in step 8"));
    EXPECT_THAT(printed.text(), HasSubstr("waits: all-reduce with ranks 0,1,2"));
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == absent) continue;
      EXPECT_EQ(statuses[rank].code(), absl::StatusCode::kDeadlineExceeded) << statuses[rank];
      EXPECT_THAT(std::string(statuses[rank].message()), HasSubstr(who + " does not answer"));
    }
  }
}

TEST_F(StallWatchTest, ARankWithoutProgressBetweenPlansStallsIfItIsWatched) {
  MemoryNetwork network(2);
  StallWatchOptions options = Options();
  options.deadline = std::chrono::milliseconds(50);
  StallWatch unwatched(network.endpoint(0), options);
  unwatched.Doing("saving a checkpoint", /*watched=*/false);
  StallWatch watched(network.endpoint(1), options);
  watched.Doing("between steps", /*watched=*/true);
  printed_.Await();
  EXPECT_THAT(printed_.text(), HasSubstr("rank 1 made no progress for 0.05 s\n"));
  EXPECT_THAT(printed_.text(), HasSubstr("rank 0: saving a checkpoint\nrank 1: between steps\n"));
}

TEST_F(StallWatchTest, ARankThatDoesNotEndAfterAFailureIsAborted) {
  MemoryNetwork network(2);
  StallWatchOptions options = Options();
  options.abort_after = std::chrono::milliseconds(1);
  std::atomic<int> aborts{0};
  options.abort = [&](const absl::Status& failure) {
    EXPECT_THAT(std::string(failure.message()), HasSubstr("rank 1 failed: lost"));
    ++aborts;
    aborts.notify_all();
  };
  StallWatch watch(network.endpoint(0), options);
  network.endpoint(1).Poison(absl::InternalError("lost"));
  aborts.wait(0);
  EXPECT_EQ(printed_.count(), 0);
}

}  // namespace
}  // namespace weft
