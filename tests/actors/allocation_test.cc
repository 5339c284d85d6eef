// In steady state nothing on weft's path of a firing allocates: launches, tasks, exchanges over
// memory, all-reduces. This file replaces the test binary's operator new to count.
#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "actors/executor.h"
#include "gtest/gtest.h"
#include "runtime/memory_transport.h"
#include "tests/support/plan_builder.h"
#include "tests/support/toy_kernels.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0};

}  // namespace

void* operator new(size_t size) {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  std::abort();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return operator new(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace weft {
namespace {

using testing::PlanBuilder;

Plan EveryKind(int rank) {
  PlanBuilder b(rank, 2);
  const int io = b.Stream("io"), compute = b.Stream("compute"), comm = b.Stream("comm");
  const int out = b.Stream("out");
  const int feed = b.Actor("feed", io, 2), inc = b.Actor("inc", compute, 2);
  const int swap = b.Actor("swap", comm, 2), reduce = b.Actor("reduce", comm, 2);
  const int fetch = b.Actor("fetch", out, 2);
  const Box whole = Box::Whole({4, 4});
  Box left = whole, right = whole;
  left.dims[1] = IndexSet({0, 2});
  right.dims[1] = IndexSet({2, 4});
  const int x = b.Channel("x", feed, {{inc}}, 2), y = b.Channel("y", inc, {{swap}}, 2);
  const int z = b.Channel("z", swap, {{reduce}}, 2), w = b.Channel("w", reduce, {{fetch}}, 1);
  for (int c : {x, y, z, w}) {
    const int slots = c == w ? 1 : 2;
    b.plan().mutable_channels(c)->add_buffers(b.Buffer("b", {4, 4}, whole, slots));
  }
  b.Feed(feed, "x", b.On(x));
  b.Call(inc, "increment", {b.On(x)}, {b.On(y)});
  ExchangeDef* exchange = b.Exchange(swap, 1, b.On(y), b.On(z));
  PlanBuilder::Piece(exchange->add_sends(), 1 - rank, rank == 0 ? left : right);
  PlanBuilder::Piece(exchange->add_receives(), 1 - rank, rank == 0 ? right : left);
  PlanBuilder::Piece(exchange->add_receives(), rank, rank == 0 ? left : right);
  b.PlaceStaging();
  b.AllReduce(reduce, 0, b.On(z), b.On(w));
  b.Fetch(fetch, "w", b.On(w));
  for (int i = 0; i < 2; ++i) b.Order({feed, inc, swap, reduce, fetch});
  return b.plan();
}

TEST(AllocationTest, NoneInSteadyState) {
  const KernelTable kernels = testing::ToyKernels();
  MemoryNetwork network(2);
  std::vector<std::unique_ptr<Executor>> executors;
  for (int rank = 0; rank < 2; ++rank) {
    ExecutorOptions options{.kernels = kernels};
    options.transport = &network.endpoint(rank);
    options.feed = [](std::string_view, int64_t step, int64_t m, const Operand& x) {
      for (int i = 0; i < 16; ++i) x.as<float>()[i] = static_cast<float>(step + m + i);
      return absl::OkStatus();
    };
    options.fetch = [](std::string_view, int64_t step, int64_t m, const Operand& w) {
      // Both ranks fed the same; after the swap each holds all of it; the sum doubles it.
      for (int i = 0; i < 16; ++i) {
        if (w.as<float>()[i] != 2 * static_cast<float>(step + m + i + 1)) {
          return absl::InternalError("wrong sum");
        }
      }
      return absl::OkStatus();
    };
    auto executor = Executor::Create(EveryKind(rank), std::move(options));
    ASSERT_TRUE(executor.ok()) << executor.status();
    executors.push_back(*std::move(executor));
  }
  const auto run_both = [&](int64_t steps) {
    absl::Status statuses[2];
    std::thread other([&] { statuses[1] = executors[1]->RunSteps(0, steps); });
    counting = true;
    statuses[0] = executors[0]->RunSteps(0, steps);
    counting = false;
    other.join();
    EXPECT_TRUE(statuses[0].ok()) << statuses[0];
    EXPECT_TRUE(statuses[1].ok()) << statuses[1];
  };
  run_both(20);
  counting = true;
  delete new int(1);
  counting = false;
  ASSERT_GT(allocations, 0) << "nothing is counted";
  allocations = 0;
  run_both(200);
  EXPECT_EQ(allocations, 0);
  // So it is while steps are timed, and after them.
  for (const auto& executor : executors) ASSERT_TRUE(executor->TimeSteps(50, 100).ok());
  run_both(200);
  EXPECT_EQ(allocations, 0);
  EXPECT_EQ(executors[0]->ReadTimes()->size(), 100u * 2 * 5);
}

}  // namespace
}  // namespace weft
