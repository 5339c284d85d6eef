#include "runtime/stream.h"

#include <atomic>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/cpu_stream.h"

namespace weft {
namespace {

struct Log {
  std::vector<int64_t> ran;
  std::atomic<int> gate{0};
};

void Append(void* context, int64_t value) { static_cast<Log*>(context)->ran.push_back(value); }
void PassGate(void* context, int64_t) { static_cast<Log*>(context)->gate.wait(0); }

TEST(StreamTest, RunsInOrderBeyondItsCapacity) {
  Log log;
  CpuStream stream("s", 4);
  for (int64_t i = 0; i < 1000; ++i) {
    stream.Enqueue({.run = Append, .context = &log, .argument = i});
  }
  CpuStream::Await(stream.Record());
  ASSERT_EQ(log.ran.size(), 1000u);
  for (int64_t i = 0; i < 1000; ++i) EXPECT_EQ(log.ran[i], i);
}

TEST(StreamTest, WaitsForEventsOfOtherStreams) {
  Log log;  // appended to by both streams, in an order that the event alone fixes
  Log gate;
  CpuStream first("first", 16), second("second", 16);
  first.Enqueue({.run = PassGate, .context = &gate});
  first.Enqueue({.run = Append, .context = &log, .argument = 1});
  const Event event = first.Record();
  EXPECT_FALSE(event.done());
  second.Wait(event);
  second.Enqueue({.run = Append, .context = &log, .argument = 2});
  gate.gate.store(1);
  gate.gate.notify_all();
  CpuStream::Await(second.Record());
  EXPECT_TRUE(event.done());
  EXPECT_EQ(log.ran, (std::vector<int64_t>{1, 2}));
}

TEST(StreamTest, OwnAndDoneEventsCostNothing) {
  Log log;
  CpuStream first("first", 16), second("second", 16);
  first.Enqueue({.run = Append, .context = &log, .argument = 1});
  const Event event = first.Record();
  CpuStream::Await(event);
  second.Wait(event);
  second.Wait(Event{});
  first.Wait(event);
  EXPECT_EQ(second.submitted(), 0);
  EXPECT_EQ(first.submitted(), 1);
}

TEST(StreamTest, DestructorRunsWhatIsLeft) {
  Log log;
  {
    CpuStream stream("s", 64);
    for (int64_t i = 0; i < 50; ++i) {
      stream.Enqueue({.run = Append, .context = &log, .argument = i});
    }
  }
  EXPECT_EQ(log.ran.size(), 50u);
}

TEST(StreamTest, AwaitForGivesUp) {
  Progress progress;
  EXPECT_FALSE(progress.AwaitFor(1, std::chrono::milliseconds(1)));
  progress.Advance(1);
  EXPECT_TRUE(progress.AwaitFor(1, std::chrono::nanoseconds(0)));
}

}  // namespace
}  // namespace weft
