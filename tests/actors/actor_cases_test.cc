// The actor cases A1 to A10: what OneFlow's protocol promises, each under many interleavings.
#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "actors/executor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/marked_graph.h"
#include "tests/support/plan_builder.h"
#include "tests/support/run_ranks.h"
#include "tests/support/seeded_ranks.h"
#include "tests/support/toy_kernels.h"

namespace weft {
namespace {

using ::testing::HasSubstr;
using testing::PlanBuilder;
using testing::SeededRanks;

constexpr int kSeeds = 200;

// What host functions of a test saw, in order.
struct Host {
  explicit Host(const KernelTable& table) : kernels(table) {}
  ExecutorOptions Options() {
    ExecutorOptions options{.kernels = kernels};
    options.variables = [this](std::string_view) -> void* { return variable; };
    options.feed = [this](std::string_view, int64_t step, int64_t microbatch, const Operand& x) {
      ++fed;
      ahead = std::max(ahead, fed - static_cast<int>(fetched.size()));
      for (int64_t i = 0; i < x.elements(); ++i) {
        x.as<float>()[i] = static_cast<float>(100 * step + 10 * microbatch + i);
      }
      return absl::OkStatus();
    };
    options.fetch = [this](std::string_view, int64_t, int64_t, const Operand& y) {
      fetched.emplace_back(y.as<float>(), y.as<float>() + y.elements());
      return absl::OkStatus();
    };
    return options;
  }
  const KernelTable& kernels;
  float variable[8] = {};
  int fed = 0;
  int ahead = 0;  // most feeds beyond fetches
  std::vector<std::vector<float>> fetched;
};

class ActorCasesTest : public ::testing::Test {
 protected:
  const KernelTable kernels_ = testing::ToyKernels();
};

TEST_F(ActorCasesTest, A1ChainRunsAheadByItsSlots) {
  for (int slots : {1, 2, 3}) {
    PlanBuilder b;
    const int in = b.Stream("in"), out = b.Stream("out");
    const int feed = b.Actor("feed", in, 6), fetch = b.Actor("fetch", out, 6);
    const int x = b.Channel("x", feed, {{fetch}}, slots, 2);
    b.Feed(feed, "x", b.On(x));
    b.Fetch(fetch, "x", b.On(x));
    for (int i = 0; i < 6; ++i) b.Order({feed, fetch});
    int ahead = 0;
    for (int seed = 0; seed < kSeeds; ++seed) {
      Host host(kernels_);
      SeededRanks ranks(1, seed);
      ASSERT_TRUE(ranks.Add(b.plan(), host.Options()).ok());
      ASSERT_TRUE(ranks.RunSteps(3).ok());
      EXPECT_LE(host.ahead, slots);
      ahead = std::max(ahead, host.ahead);
      ASSERT_EQ(host.fetched.size(), 18u);
      for (int n = 0; n < 18; ++n) {
        EXPECT_EQ(host.fetched[n][1], 100 * (n / 6) + 10 * (n % 6) + 1);
      }
    }
    EXPECT_EQ(ahead, slots);
  }
}

TEST_F(ActorCasesTest, A2DiamondWithUnequalSlots) {
  PlanBuilder b;
  const int in = b.Stream("in"), left = b.Stream("left"), right = b.Stream("right");
  const int out = b.Stream("out");
  const int feed = b.Actor("feed", in, 5), l = b.Actor("l", left, 5), r = b.Actor("r", right, 5);
  const int sum = b.Actor("sum", out, 5), fetch = b.Actor("fetch", out, 5);
  const int x = b.Channel("x", feed, {{l}, {r}}, 2, 3);
  const int xl = b.Channel("xl", l, {{sum}}, 1, 3), xr = b.Channel("xr", r, {{sum}}, 3, 3);
  const int y = b.Channel("y", sum, {{fetch}}, 1, 3);
  b.Feed(feed, "x", b.On(x));
  b.Call(l, "increment", {b.On(x)}, {b.On(xl)});
  b.Call(r, "double", {b.On(x)}, {b.On(xr)});
  b.Call(sum, "add", {b.On(xl), b.On(xr)}, {b.On(y)});
  b.Fetch(fetch, "y", b.On(y));
  for (int i = 0; i < 5; ++i) b.Order({feed, l, r, sum, fetch});
  for (int seed = 0; seed < kSeeds; ++seed) {
    Host host(kernels_);
    SeededRanks ranks(1, seed);
    ASSERT_TRUE(ranks.Add(b.plan(), host.Options()).ok());
    ASSERT_TRUE(ranks.RunSteps(3).ok());
    ASSERT_EQ(host.fetched.size(), 15u);
    for (int n = 0; n < 15; ++n) {
      for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(host.fetched[n][i], 3 * (100 * (n / 5) + 10 * (n % 5) + i) + 1);
      }
    }
  }
}

TEST_F(ActorCasesTest, A3SlowConsumerHoldsItsProducerBack) {
  MarkedGraph graph;
  graph.streams = 2;
  graph.actors = {{.name = "fast", .stream = 0, .firings_per_step = 50, .seconds = 1e-3},
                  {.name = "slow", .stream = 1, .firings_per_step = 50, .seconds = 1}};
  graph.channels = {{.name = "x", .producer = 0, .consumers = {{1, 1}}, .slots = 4}};
  ASSERT_TRUE(Check(graph).ok());
  const Schedule schedule = RunMarkedGraph(graph, 2);
  ASSERT_TRUE(schedule.complete());
  for (int n = 4; n < 100; ++n) {
    EXPECT_GE(schedule.streams[0][n].start, schedule.streams[1][n - 4].end);
  }
  EXPECT_NEAR(schedule.seconds, 100 + 1e-3, 1e-6);
}

TEST_F(ActorCasesTest, A4InPlaceWaitsForBothReaders) {
  PlanBuilder b;
  const int in = b.Stream("in"), s1 = b.Stream("s1"), s2 = b.Stream("s2"), s3 = b.Stream("s3");
  const int feed = b.Actor("feed", in, 4), f1 = b.Actor("f1", s1, 4), f2 = b.Actor("f2", s2, 4);
  const int twice = b.Actor("twice", s3, 4), f3 = b.Actor("f3", s3, 4);
  const int x = b.Channel("x", feed, {{f1}, {f2}, {twice}}, 2, 2);
  b.Channel("f1 has read", f1, {{twice}});
  b.Channel("f2 has read", f2, {{twice}});
  // y lies where x lies; x is not free before y's reader is done.
  const int y = b.Channel("y", twice, {{f3}}, 1);
  b.Channel("y has been read", f3, {{feed}}, 1, 0, 1, 1);
  b.Feed(feed, "x", b.On(x));
  b.Fetch(f1, "x", b.On(x));
  b.Fetch(f2, "x", b.On(x));
  b.Call(twice, "double", {b.On(x)}, {b.On(x)});
  // f3 reads the memory through x's buffer, whose slot goes with the firing.
  b.plan().mutable_channels(y)->set_slots(2);
  b.Fetch(f3, "y", PlanBuilder::At(b.plan().channels(x).buffers(0), y));
  for (int i = 0; i < 4; ++i) b.Order({feed, f1, f2, twice, f3});
  for (int seed = 0; seed < kSeeds; ++seed) {
    Host host(kernels_);
    std::vector<float> plain, doubled;
    ExecutorOptions options = host.Options();
    options.fetch = [&](std::string_view name, int64_t, int64_t, const Operand& v) {
      (name == "x" ? plain : doubled).push_back(v.as<float>()[1]);
      return absl::OkStatus();
    };
    SeededRanks ranks(1, seed);
    ASSERT_TRUE(ranks.Add(b.plan(), std::move(options)).ok());
    ASSERT_TRUE(ranks.RunSteps(2).ok());
    ASSERT_EQ(doubled.size(), 8u);
    std::sort(plain.begin(), plain.end());
    for (int n = 0; n < 8; ++n) {
      const float value = 100 * (n / 4) + 10 * (n % 4) + 1;
      EXPECT_EQ(plain[2 * n], value);
      EXPECT_EQ(plain[2 * n + 1], value);
      EXPECT_EQ(doubled[n], 2 * value);
    }
  }
}

// A step of gradient descent: a parameter read by all microbatches, a gradient written by all.
TEST_F(ActorCasesTest, A5RatesAccumulateAndRepeat) {
  constexpr int kMicrobatches = 3;
  PlanBuilder b;
  const int in = b.Stream("in"), compute = b.Stream("compute"), update = b.Stream("update");
  const int feed = b.Actor("feed", in, kMicrobatches);
  const int grad = b.Actor("grad", compute, kMicrobatches);
  const int opt = b.Actor("opt", update);
  const int x = b.Channel("x", feed, {{grad}}, 2, 2);
  const int g = b.Channel("g", grad, {{opt}}, 1, 2, kMicrobatches);
  const int w = b.Channel("w", opt, {{grad, kMicrobatches}}, 1, 0, 1, 1);
  const int variable = b.Variable("w", 2);
  b.plan().mutable_channels(w)->add_buffers(variable);
  const OperandDef on_w = PlanBuilder::At(variable, w);
  b.Feed(feed, "x", b.On(x));
  b.Call(grad, "add", {b.On(x), on_w}, {b.On(g)})->add_accumulate(0);
  b.Call(opt, "double", {b.On(g)}, {on_w});
  for (int i = 0; i < kMicrobatches; ++i) b.Order({feed, grad});
  b.Order({opt});
  for (int seed = 0; seed < kSeeds; ++seed) {
    Host host(kernels_);
    SeededRanks ranks(1, seed);
    ASSERT_TRUE(ranks.Add(b.plan(), host.Options()).ok());
    ASSERT_TRUE(ranks.RunSteps(4).ok());
    float expected[2] = {};
    for (int step = 0; step < 4; ++step) {
      for (int i = 0; i < 2; ++i) {
        float sum = 0;
        for (int m = 0; m < kMicrobatches; ++m) sum += 100 * step + 10 * m + i + expected[i];
        expected[i] = 2 * sum;
      }
    }
    EXPECT_EQ(host.variable[0], expected[0]);
    EXPECT_EQ(host.variable[1], expected[1]);
  }
}

TEST_F(ActorCasesTest, A6EndsAtTheInitialMarking) {
  PlanBuilder b;
  const int in = b.Stream("in"), out = b.Stream("out");
  const int feed = b.Actor("feed", in), fetch = b.Actor("fetch", out);
  const int x = b.Channel("x", feed, {{fetch}}, 3, 1);
  b.Feed(feed, "x", b.On(x));
  b.Fetch(fetch, "x", b.On(x));
  b.Order({feed, fetch});
  Host host(kernels_);
  SeededRanks ranks(1, 1);
  ASSERT_TRUE(ranks.Add(b.plan(), host.Options()).ok());
  for (int round = 1; round <= 5; ++round) {
    ASSERT_TRUE(ranks.RunSteps(1).ok());
    EXPECT_EQ(ranks[0].ended(), round);
    EXPECT_EQ(host.fetched.size(), static_cast<size_t>(round));
    EXPECT_THAT(ranks[0].Report(), HasSubstr("stream `out`: idle"));
  }
}

// Each rank sends its [2]-box to the others and keeps the sum: an all-reduce made of an exchange.
Plan SumOverRanks(int rank, int size, int collectives) {
  PlanBuilder b(rank, size);
  const int comm = b.Stream("comm");
  std::vector<int> order;
  for (int c = 0; c < collectives; ++c) {
    const std::string n = std::to_string(c);
    const int compute = b.Stream("compute" + n), out = b.Stream("out" + n);
    const int feed = b.Actor("feed" + n, compute), inc = b.Actor("inc" + n, compute);
    const int sum = b.Actor("sum" + n, comm), fetch = b.Actor("fetch" + n, out);
    const int x = b.Channel("x" + n, feed, {{inc}}, 1, 2);
    const int y = b.Channel("y" + n, inc, {{sum}}, 2, 2),
              z = b.Channel("z" + n, sum, {{fetch}}, 1, 2);
    b.Feed(feed, n, b.On(x));
    b.Call(inc, "increment", {b.On(x)}, {b.On(y)});
    // One tag for all: were the order of any two ranks to differ, sums would be of unlike things.
    ExchangeDef* exchange = b.Exchange(sum, 7, b.On(y), b.On(z));
    exchange->set_combine(true);
    for (int r = 0; r < size; ++r) {
      PlanBuilder::Piece(exchange->add_sends(), r, Box::Whole({2}));
      PlanBuilder::Piece(exchange->add_receives(), r, Box::Whole({2}));
    }
    b.Fetch(fetch, n, b.On(z));
    b.Order({feed, inc, sum, fetch});
  }
  b.PlaceStaging();
  return b.plan();
}

ExecutorOptions SumOptions(const KernelTable& kernels, int rank, int size, int* sums) {
  ExecutorOptions options{.kernels = kernels};
  options.feed = [rank](std::string_view name, int64_t step, int64_t, const Operand& x) {
    for (int i = 0; i < 2; ++i) {
      x.as<float>()[i] = static_cast<float>(1000 * step + 100 * (name[0] - '0') + 10 * rank + i);
    }
    return absl::OkStatus();
  };
  options.fetch = [size, sums](std::string_view name, int64_t step, int64_t, const Operand& z) {
    for (int i = 0; i < 2; ++i) {
      const int64_t expected =
          size * (1000 * step + 100 * (name[0] - '0') + i + 1) + 10 * size * (size - 1) / 2;
      EXPECT_EQ(z.as<float>()[i], expected) << "collective " << name << ", step " << step;
    }
    ++*sums;
    return absl::OkStatus();
  };
  return options;
}

TEST_F(ActorCasesTest, A7MessagesThatOvertakeOneAnother) {
  const LinkModel links{.latency = std::chrono::microseconds(20),
                        .jitter = std::chrono::microseconds(300),
                        .seed = 3};
  testing::RunRanks(3, links, [&](Transport& transport) {
    ExecutorOptions options = SumOptions(kernels_, transport.rank(), 3, nullptr);
    std::atomic<int> fetched{0};
    options.fetch = [&](std::string_view name, int64_t step, int64_t m, const Operand& z) {
      int sum = 0;
      const absl::Status status = SumOptions(kernels_, 0, 3, &sum).fetch(name, step, m, z);
      fetched += sum;
      return status;
    };
    options.transport = &transport;
    auto executor = Executor::Create(SumOverRanks(transport.rank(), 3, 4), std::move(options));
    ASSERT_TRUE(executor.ok()) << executor.status();
    ASSERT_TRUE((*executor)->RunSteps(0, 20).ok());
    EXPECT_EQ(fetched, 80);
  });
}

TEST_F(ActorCasesTest, A8KernelErrorReachesAllRanks) {
  const std::string expected = "rank 1 failed: actor `inc1`, op `inc1`, step 1: it broke";
  for (int seed = 0; seed < 50; ++seed) {
    SeededRanks ranks(3, seed);
    int sums = 0;
    for (int rank = 0; rank < 3; ++rank) {
      ExecutorOptions options = SumOptions(kernels_, rank, 3, &sums);
      options.fetch = [](std::string_view, int64_t, int64_t, const Operand&) {
        return absl::OkStatus();
      };
      Plan plan = SumOverRanks(rank, 3, 2);
      if (rank == 1)
        plan.mutable_actors(5)->mutable_compute()->mutable_calls(0)->set_kernel("break");
      ASSERT_TRUE(ranks.Add(plan, std::move(options)).ok());
    }
    ranks.RunSteps(4).IgnoreError();
    for (int rank = 0; rank < 3; ++rank) {
      const absl::Status status = ranks[rank].Wait();
      EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
      EXPECT_EQ(status.message(), expected);
      EXPECT_EQ(ranks[rank].Launch(9).message(), expected);
    }
  }
}

TEST_F(ActorCasesTest, A10CollectivesKeepOneOrderOnAllRanks) {
  for (int seed = 0; seed < 1000; ++seed) {
    SeededRanks ranks(3, seed);
    int sums = 0;
    for (int rank = 0; rank < 3; ++rank) {
      ASSERT_TRUE(ranks.Add(SumOverRanks(rank, 3, 4), SumOptions(kernels_, rank, 3, &sums)).ok());
    }
    const absl::Status status = ranks.RunSteps(3);
    ASSERT_TRUE(status.ok()) << "seed " << seed << ": " << status;
    ASSERT_EQ(sums, 3 * 4 * 3);
  }
}

}  // namespace
}  // namespace weft
