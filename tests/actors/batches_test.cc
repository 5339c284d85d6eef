// Calls of one kernel that follow each other are made as a batch where they are independent.
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "actors/executor.h"
#include "actors/memory_ranges.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/plan_builder.h"
#include "tests/support/toy_kernels.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::PlanBuilder;

// How many calls were made at a time; 1: by the kernel itself.
std::vector<int>& Made() {
  static std::vector<int> made;
  return made;
}

absl::Status CountedAdd(const KernelContext& c) {
  Made().push_back(1);
  return testing::Add(c);
}

// The last call first: those of a batch may be made in any order.
absl::Status BatchedAdd(absl::Span<const KernelContext* const> calls) {
  Made().push_back(static_cast<int>(calls.size()));
  for (size_t i = calls.size(); i > 0; --i) {
    if (absl::Status status = testing::Add(*calls[i - 1]); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status BrokenBatch(absl::Span<const KernelContext* const>) {
  return absl::InternalError("it broke");
}

// One actor, "all", that fires once a step on buffers of four elements.
class BatchesTest : public ::testing::Test {
 protected:
  BatchesTest() : kernels_(testing::ToyKernels()) {
    kernels_.Add("add", CountedAdd, BatchedAdd);
    kernels_.Add("broken", testing::Add, BrokenBatch);
    compute_ = b_.Stream("compute");
    all_ = b_.Actor("all", compute_);
    for (int i = 0; i < kBuffers; ++i) {
      b_.Buffer("buffer " + std::to_string(i), 4);
      b_.plan().mutable_buffers(i)->clear_offsets();
      b_.plan().mutable_buffers(i)->set_variable(std::to_string(i));
    }
    Made().clear();
  }

  // y = the sum of xs.
  KernelCallDef* Call(std::string_view kernel, const std::vector<int>& xs, int y) {
    std::vector<OperandDef> inputs;
    for (int x : xs) inputs.push_back(PlanBuilder::At(x));
    KernelCallDef* const call = b_.Call(all_, kernel, inputs, {PlanBuilder::At(y)});
    call->set_name("op" + std::to_string(b_.plan().actors(all_).compute().calls_size() - 1));
    return call;
  }
  KernelCallDef* Add(const std::vector<int>& xs, int y) { return Call("add", xs, y); }

  std::unique_ptr<Executor> Make() {
    b_.Order({all_});
    for (int i = 0; i < kBuffers; ++i) {
      for (int e = 0; e < 4; ++e) values_[i][e] = static_cast<float>(10 * i + e);
    }
    ExecutorOptions options{.kernels = kernels_};
    options.variables = [this](std::string_view name) -> void* {
      return values_[std::stoi(std::string(name))];
    };
    options.feed = [](std::string_view, int64_t, int64_t microbatch, const Operand& x) {
      for (int64_t i = 0; i < 4; ++i) x.as<float>()[i] = static_cast<float>(microbatch + 1);
      return absl::OkStatus();
    };
    options.fetch = [this](std::string_view, int64_t, int64_t, const Operand& y) {
      fetched_.push_back(y.as<float>()[0]);
      return absl::OkStatus();
    };
    auto executor = Executor::Create(b_.plan(), std::move(options));
    EXPECT_TRUE(executor.ok()) << executor.status();
    return *std::move(executor);
  }
  // Runs a step; how many calls were made at a time.
  std::vector<int> Run() {
    const absl::Status status = Make()->Run(0);
    EXPECT_TRUE(status.ok()) << status;
    return Made();
  }

  static constexpr int kBuffers = 10;
  KernelTable kernels_;
  PlanBuilder b_;
  int compute_ = 0;
  int all_ = 0;
  float values_[kBuffers][4];
  std::vector<float> fetched_;
};

TEST_F(BatchesTest, IndependentCallsAreMadeTogether) {
  Add({0, 1}, 2);
  Add({0, 3}, 4);  // what is only read is shared
  Add({5}, 5);     // a call may work in place
  EXPECT_THAT(Run(), ElementsAre(3));
  EXPECT_EQ(values_[2][1], 1 + 11);
  EXPECT_EQ(values_[4][1], 1 + 31);
  EXPECT_EQ(values_[5][1], 51);
}

TEST_F(BatchesTest, ACallThatReadsWhatAnotherWritesComesLater) {
  Add({0}, 2);
  Add({1}, 3);
  Add({2, 3}, 4);
  Add({1}, 5);
  EXPECT_THAT(Run(), ElementsAre(2, 2));
  EXPECT_EQ(values_[4][2], 2 + 12);
}

TEST_F(BatchesTest, ACallThatWritesWhatAnotherReadsOrWritesComesLater) {
  Add({0}, 2);
  Add({1}, 0);
  Add({3}, 0);
  EXPECT_THAT(Run(), ElementsAre(1, 1, 1));
  EXPECT_EQ(values_[2][3], 3);
  EXPECT_EQ(values_[0][3], 33);
}

TEST_F(BatchesTest, OtherKernelsEndABatch) {
  Add({0}, 2);
  Add({0}, 3);
  Call("increment", {0}, 4);
  Add({0}, 5);
  Add({0}, 6);
  EXPECT_THAT(Run(), ElementsAre(2, 2));
}

TEST_F(BatchesTest, AMessageLeavesWhenTheBatchIsDone) {
  // The reader has what the first call writes only after both, and before the next kernel.
  static std::atomic<bool> arrived;
  arrived = false;
  kernels_.Add("needs arrival", [](const KernelContext&) {
    arrived.wait(false);
    return absl::OkStatus();
  });
  kernels_.Add("arrive", [](const KernelContext&) {
    arrived = Made() == std::vector<int>{2};
    arrived.notify_all();
    return absl::OkStatus();
  });
  const int out = b_.Stream("out"), reader = b_.Actor("reader", out);
  const int y = b_.Channel("y", all_, {{reader}}, 1, 4);
  b_.Call(all_, "add", {PlanBuilder::At(0)}, {b_.On(y)});
  Add({0}, 3);
  Call("needs arrival", {}, 4);
  b_.Call(reader, "arrive", {b_.On(y)}, {});
  b_.Early(all_, y, 1);
  b_.Order({reader});
  EXPECT_THAT(Run(), ElementsAre(2));
}

TEST_F(BatchesTest, ALargeBatchDoesNotHoldAMessageUp) {
  // 24 MiB a call: five more may go before somebody goes on with what the first has written.
  constexpr int64_t kElements = 3 << 20;
  const int out = b_.Stream("out"), reader = b_.Actor("reader", out);
  const int y = b_.Channel("y", all_, {{reader}}, 1, kElements);
  const int x = b_.Buffer("x", kElements);
  b_.Call(all_, "add", {PlanBuilder::At(x)}, {b_.On(y)});
  for (int i = 0; i < 7; ++i) {
    const int other = b_.Buffer("other " + std::to_string(i), kElements);
    b_.Call(all_, "add", {PlanBuilder::At(x)}, {PlanBuilder::At(other)});
  }
  b_.Call(reader, "nothing", {b_.On(y)}, {});
  b_.Early(all_, y, 1);
  b_.Order({reader});
  EXPECT_THAT(Run(), ElementsAre(6, 2));
}

TEST_F(BatchesTest, WorkspacesAreWritten) {
  b_.plan().set_arena_bytes(256);
  for (const int offset : {0, 128, 64, 192}) {
    KernelCallDef* const call = Add({0}, 2 + offset / 64);
    call->set_workspace_offset(offset);
    call->set_workspace_bytes(100);
    if (offset == 192) call->set_workspace_bytes(64);
  }
  EXPECT_THAT(Run(), ElementsAre(2, 2));
}

TEST_F(BatchesTest, EverySlotOfAnOperandCounts) {
  // Where the first call reads at the second firing, the second call writes at all of them.
  const int in = b_.Stream("in"), feed = b_.Actor("feed", in, 2);
  b_.plan().mutable_actors(all_)->set_firings_per_step(2);
  const int x = b_.Channel("x", feed, {{all_}}, 2, 4);
  b_.Feed(feed, "x", b_.On(x));
  b_.Call(all_, "add", {b_.On(x)}, {PlanBuilder::At(2)});
  const int z = b_.Buffer("z", 4);
  b_.plan().mutable_buffers(z)->set_offsets(0, b_.plan().buffers(b_.On(x).buffer()).offsets(1));
  Add({0}, z);
  Add({0}, 3);
  b_.Order({feed, all_, feed});
  EXPECT_THAT(Run(), ElementsAre(1, 2, 1, 2));
}

TEST_F(BatchesTest, CallsAccumulateEachForItself) {
  // Two microbatches: `sum` takes both, `last` only the second.
  const int in = b_.Stream("in"), out = b_.Stream("out");
  const int feed = b_.Actor("feed", in, 2), fetch = b_.Actor("fetch", out);
  b_.plan().mutable_actors(all_)->set_firings_per_step(2);
  const int x = b_.Channel("x", feed, {{all_}}, 2, 4);
  const int sum = b_.Channel("sum", all_, {{fetch}}, 1, 4, /*writes_per_slot=*/2);
  b_.Feed(feed, "x", b_.On(x));
  b_.Fetch(fetch, "sum", b_.On(sum));
  b_.Call(all_, "add", {b_.On(x)}, {b_.On(sum)})->add_accumulate(0);
  b_.Call(all_, "add", {b_.On(x)}, {PlanBuilder::At(3)});
  b_.Order({feed, all_, feed, fetch});
  const auto executor = Make();
  ASSERT_TRUE(executor->RunSteps(0, 2).ok());
  EXPECT_THAT(fetched_, ElementsAre(1 + 2, 1 + 2));
  EXPECT_EQ(values_[3][0], 2);
  EXPECT_THAT(Made(), ElementsAre(2, 2, 2, 2));
}

TEST_F(BatchesTest, AFailureNamesTheFirstCallAndHowManyFollow) {
  Add({0}, 2);
  Call("broken", {0}, 3);
  Call("broken", {0}, 4);
  Call("broken", {0}, 5);
  const absl::Status status = Make()->Run(0);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(
      std::string(status.message()),
      HasSubstr("actor `all`, op `op1`, step 1: in a batch with the 2 calls after it: it broke"));
}

TEST_F(BatchesTest, TheFirstCallCarriesTheTime) {
  for (int y : {2, 3, 4}) Add({0}, y);
  Call("increment", {2}, 5);
  const auto executor = Make();
  ASSERT_TRUE(executor->TimeSteps(0, 1).ok());
  ASSERT_TRUE(executor->Run(0).ok());
  const auto times = executor->ReadTimes();
  ASSERT_TRUE(times.ok()) << times.status();
  ASSERT_EQ(times->size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const FiringTime& time = (*times)[i];
    EXPECT_EQ(time.call, static_cast<int>(i));
    if (i > 0) {
      EXPECT_GE(time.begin, (*times)[0].end);
    }
  }
  EXPECT_THAT(Made(), ElementsAre(3));
}

TEST(MemoryRangesTest, IsTheSetOfTheAddressesAdded) {
  // Against a set of addresses, over all small ranges in some order.
  const auto at = [](int64_t i) { return reinterpret_cast<const void*>(uintptr_t{1000} + i); };
  MemoryRanges ranges;
  std::set<int64_t> added;
  for (const auto& [begin, bytes] : std::vector<std::pair<int, int>>{
           {20, 5}, {3, 0}, {10, 4}, {14, 2}, {30, 1}, {9, 1}, {18, 12}, {2, 3}, {0, 40}}) {
    ranges.Add(at(begin), bytes);
    for (int i = begin; i < begin + bytes; ++i) added.insert(i);
    for (int64_t from = 0; from < 42; ++from) {
      for (int64_t size = 0; size < 42 - from; ++size) {
        const auto first = added.lower_bound(from);
        EXPECT_EQ(ranges.Overlaps(at(from), size), first != added.end() && *first < from + size)
            << from << ", " << size;
      }
    }
  }
}

}  // namespace
}  // namespace weft
