// CpuCommunicator over memory: all collectives, dtypes, uneven counts, group shapes.
#include "runtime/cpu_communicator.h"

#include <limits>
#include <numeric>

#include "gtest/gtest.h"
#include "runtime/collective_bytes.h"
#include "runtime/reduce.h"
#include "runtime/rendezvous.h"
#include "tests/support/collective_cases.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

using testing::kAllDTypes;
using testing::RunRanks;
using testing::UnevenCounts;

std::unique_ptr<CpuCommunicator> MustCreate(Transport& t, std::vector<int> ranks, uint32_t tag) {
  auto communicator = CpuCommunicator::Create(t, std::move(ranks), tag);
  EXPECT_EQ(communicator.status(), absl::OkStatus());
  return std::move(communicator).value();
}

std::vector<int> Everyone(int size) {
  std::vector<int> ranks(size);
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

TEST(Communicator, ConformsInAllDTypes) {
  for (const int size : {1, 2, 3, 4, 5, 8}) {
    SCOPED_TRACE(size);
    RunRanks(size, {}, [size](Transport& t) {
      const auto c = MustCreate(t, Everyone(size), 1);
      for (const DType dtype : kAllDTypes) testing::CheckCollectives(*c, dtype, /*large=*/false);
    });
  }
}

TEST(Communicator, ConformsInManyPieces) {
  for (const int size : {2, 3, 5}) {
    SCOPED_TRACE(size);
    RunRanks(size, {}, [size](Transport& t) {
      const auto c = MustCreate(t, Everyone(size), 1);
      for (const DType dtype : {DType::kF32, DType::kBF16, DType::kBool}) {
        testing::CheckCollectives(*c, dtype, /*large=*/true);
      }
    });
  }
}

// Disjoint and overlapping groups in permuted order, at work at the same time; ranks outside idle.
TEST(Communicator, ConformsInSubsetsAndPermutations) {
  const std::vector<std::vector<int>> groups = {{4, 1, 3}, {0, 5}, {2}, {5, 4, 3, 2, 1, 0}, {3, 0}};
  RunRanks(6, {}, [&groups](Transport& t) {
    for (size_t g = 0; g < groups.size(); ++g) {
      const std::vector<int>& group = groups[g];
      if (std::find(group.begin(), group.end(), t.rank()) == group.end()) continue;
      const auto c = MustCreate(t, group, static_cast<uint32_t>(g));
      EXPECT_EQ(group[c->rank()], t.rank());
      testing::CheckCollectives(*c, DType::kF32, /*large=*/true);
    }
  });
}

TEST(Communicator, ConformsWhenMessagesAreReordered) {
  const LinkModel links{.jitter = std::chrono::microseconds(50), .seed = 7};
  RunRanks(3, links, [](Transport& t) {
    const auto c = MustCreate(t, {0, 1, 2}, 1);
    for (const DType dtype : {DType::kBF16, DType::kI64}) {
      testing::CheckCollectives(*c, dtype, /*large=*/true);
    }
  });
}

// The predicted bytes are those that the transport counts.
TEST(Communicator, SendsThePredictedBytes) {
  for (const int size : {1, 2, 3, 5, 8}) {
    RunRanks(size, {}, [size](Transport& t) {
      const auto c = MustCreate(t, Everyone(size), 1);
      const DType dtype = DType::kBF16;
      std::vector<BFloat16> a(700000 * 4), b(700000 * 4);
      int64_t before = 0;
      const auto sent = [&] {
        const int64_t now = t.total_bytes_sent();
        return now - std::exchange(before, now);
      };
      for (const int64_t count : {0, 7, 5000, 700000}) {
        ASSERT_TRUE(c->AllReduce(a.data(), b.data(), count, dtype, Monoid::kSum).ok());
        EXPECT_EQ(sent(), AllReduceBytesSent(t.rank(), size, count, dtype));
        const std::vector<int64_t> counts = UnevenCounts(size, count / 8);
        ASSERT_TRUE(c->ReduceScatter(a.data(), b.data(), counts, dtype, Monoid::kSum).ok());
        EXPECT_EQ(sent(), ReduceScatterBytesSent(t.rank(), counts, dtype));
        ASSERT_TRUE(c->AllGather(a.data(), b.data(), counts, dtype).ok());
        EXPECT_EQ(sent(), AllGatherBytesSent(t.rank(), counts, dtype));
        for (int root = 0; root < size; ++root) {
          ASSERT_TRUE(c->Broadcast(a.data(), count, dtype, root).ok());
          EXPECT_EQ(sent(), BroadcastBytesSent(t.rank(), size, root, count, dtype));
        }
        const std::vector<int64_t> from(size, 0);
        const std::vector<int64_t> receives(size, counts[t.rank()]);
        std::vector<int64_t> to;
        for (int r = 0; r < size; ++r) to.push_back(r * counts[t.rank()]);
        ASSERT_TRUE(c->AllToAll(a.data(), {counts, from}, b.data(), {receives, to}, dtype).ok());
        EXPECT_EQ(sent(), AllToAllBytesSent(t.rank(), counts, dtype));
      }
    });
  }
}

// Sums of values that round: the same bits on every rank, in every run, by either algorithm.
TEST(Communicator, SumsHaveTheSameBitsEverywhere) {
  constexpr int64_t kCount = 100000;
  const auto value = [](int rank, int64_t i) { return std::sin(0.37f * (rank + 1) * (i + 1)); };
  for (int run = 0; run < 2; ++run) {
    RunRanks(5, {}, [&value](Transport& t) {
      const auto c = MustCreate(t, {3, 1, 4, 0, 2}, 1);
      std::vector<float> in(kCount), out(kCount), expected(kCount), few(100);
      for (int64_t i = 0; i < kCount; ++i) {
        in[i] = value(c->rank(), i);
        expected[i] = value(0, i);
        for (int r = 1; r < 5; ++r) expected[i] += value(r, i);
      }
      ASSERT_TRUE(c->AllReduce(in.data(), out.data(), kCount, DType::kF32, Monoid::kSum).ok());
      EXPECT_EQ(std::memcmp(out.data(), expected.data(), kCount * sizeof(float)), 0);
      ASSERT_TRUE(c->AllReduce(in.data(), few.data(), 100, DType::kF32, Monoid::kSum).ok());
      EXPECT_EQ(std::memcmp(few.data(), expected.data(), 100 * sizeof(float)), 0);
    });
  }
}

// bf16 adds in fp32 and rounds once: 256 + 1 + 1 + 1 + 1 is 260, not 256.
TEST(Communicator, BF16RoundsOnce) {
  RunRanks(5, {}, [](Transport& t) {
    const auto c = MustCreate(t, Everyone(5), 1);
    for (const int64_t count : {3, 400000}) {
      std::vector<BFloat16> x(count, BFloat16(t.rank() == 0 ? 256.0f : 1.0f));
      ASSERT_TRUE(c->AllReduce(x.data(), x.data(), count, DType::kBF16, Monoid::kSum).ok());
      EXPECT_EQ(static_cast<float>(x.front()), 260.0f);
      EXPECT_EQ(static_cast<float>(x.back()), 260.0f);
    }
  });
}

TEST(Communicator, ReducesSpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> a = {-inf, -inf, inf, 1, nan, 2, 1000};
  const std::vector<float> b = {-inf, 1, 1, -inf, 1, nan, 1000};
  const std::vector<const void*> sources = {a.data(), b.data()};
  std::vector<float> out(a.size());
  ReduceInOrder(DType::kF32, Monoid::kLogAddExp, sources, out.data(), a.size());
  EXPECT_EQ(out[0], -inf);
  EXPECT_EQ(out[1], 1);
  EXPECT_EQ(out[2], inf);
  EXPECT_EQ(out[3], 1);
  EXPECT_TRUE(std::isnan(out[4]) && std::isnan(out[5]));
  EXPECT_FLOAT_EQ(out[6], 1000 + std::log(2.0f));
  ReduceInOrder(DType::kF32, Monoid::kMax, sources, out.data(), a.size());
  EXPECT_EQ(out[0], -inf);
  EXPECT_EQ(out[2], inf);
  EXPECT_TRUE(std::isnan(out[4]) && std::isnan(out[5]));
}

// Every 16-bit pattern, widened and rounded as dtype.h does.
template <typename T>
void ExpectConversionsOf(DType dtype) {
  std::vector<T> x(1 << 16), out(1 << 16);
  for (int i = 0; i < 1 << 16; ++i) x[i].bits = static_cast<uint16_t>(i);
  const std::vector<const void*> sources = {x.data(), x.data(), x.data()};
  ReduceInOrder(dtype, Monoid::kSum, sources, out.data(), x.size());
  for (int i = 0; i < 1 << 16; ++i) {
    const float value = static_cast<float>(x[i]);
    const T expected(value + value + value);
    if (std::isnan(static_cast<float>(expected))) {
      EXPECT_TRUE(std::isnan(static_cast<float>(out[i]))) << i;
    } else {
      EXPECT_EQ(out[i].bits, expected.bits) << i;
    }
  }
}

TEST(Communicator, ReducesAll16BitPatterns) {
  ExpectConversionsOf<BFloat16>(DType::kBF16);
  ExpectConversionsOf<Float16>(DType::kF16);
}

TEST(Communicator, RefusesBadGroupsAndArguments) {
  MemoryNetwork network(3);
  Transport& t = network.endpoint(0);
  EXPECT_FALSE(CpuCommunicator::Create(t, {1, 2}, 1).ok());
  EXPECT_FALSE(CpuCommunicator::Create(t, {0, 1, 0}, 1).ok());
  EXPECT_FALSE(CpuCommunicator::Create(t, {0, 3}, 1).ok());
  EXPECT_FALSE(CpuCommunicator::Create(t, {0, 1}, Transport::kTagLimit).ok());
  const auto c = MustCreate(t, {0, 1}, 1);
  float x[4] = {};
  EXPECT_FALSE(c->AllReduce(x, x, -1, DType::kF32, Monoid::kSum).ok());
  EXPECT_FALSE(c->AllGather(x, x, {1, 2, 3}, DType::kF32).ok());
  EXPECT_FALSE(c->ReduceScatter(x, x, {1, -2}, DType::kF32, Monoid::kSum).ok());
  EXPECT_FALSE(c->Broadcast(x, 1, DType::kF32, 2).ok());
  EXPECT_FALSE(c->AllToAll(x, {{1, 1}, {0, 1}}, x, {{1}, {0}}, DType::kF32).ok());
  EXPECT_EQ(t.status(), absl::OkStatus());
}

// Ranks that disagree about a count all fail, and say of what.
TEST(Communicator, DisagreementFailsEveryRank) {
  RunRanks(3, {}, [](Transport& t) {
    const auto c = MustCreate(t, Everyone(3), 1);
    std::vector<float> x(200000);
    const int64_t count = t.rank() == 1 ? 100000 : 200000;
    const absl::Status status = c->AllReduce(x.data(), x.data(), count, DType::kF32, Monoid::kSum);
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.message().find("all_reduce"), std::string::npos) << status;
    EXPECT_NE(status.message().find("bytes were sent"), std::string::npos) << status;
  });
}

TEST(Communicator, PoisonEndsAWaitingCollective) {
  RunRanks(4, {}, [](Transport& t) {
    const auto c = MustCreate(t, Everyone(4), 1);
    std::vector<float> x(300000);
    if (t.rank() == 2) {
      t.Poison(absl::InternalError("out of luck"));
      return;
    }
    const absl::Status status =
        c->AllReduce(x.data(), x.data(), x.size(), DType::kF32, Monoid::kSum);
    EXPECT_NE(status.message().find("rank 2 failed: out of luck"), std::string::npos) << status;
  });
}

}  // namespace
}  // namespace weft
