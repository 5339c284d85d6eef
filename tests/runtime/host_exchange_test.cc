// HostExchange between ranks that are threads of one process, each with a mapping of its own.
#include "runtime/host_exchange.h"

#include <barrier>
#include <limits>
#include <numeric>
#include <random>
#include <thread>

#include "gtest/gtest.h"
#include "tests/support/run_ranks.h"
#include "tests/support/shared_mappings.h"

namespace weft {
namespace {

using testing::CountSharedMappings;
using testing::RunRanks;

constexpr uint32_t kTag = 5;
constexpr int64_t kMostBytes = 5000;

std::vector<int> Everyone(int size) {
  std::vector<int> ranks(size);
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

std::unique_ptr<HostExchange> MustCreate(Transport& t, const std::vector<int>& ranks) {
  auto exchange = HostExchange::Create(t, ranks, kTag, kMostBytes);
  EXPECT_EQ(exchange.status(), absl::OkStatus());
  EXPECT_NE(*exchange, nullptr);
  return *std::move(exchange);
}

// What `rank` gives in exchange number `n`.
std::vector<char> Given(int rank, int n, int64_t bytes) {
  std::vector<char> data(bytes);
  for (int64_t i = 0; i < bytes; ++i) data[i] = static_cast<char>(rank * 31 + n * 7 + i);
  return data;
}

// Gives and checks what all others gave, in `rounds` exchanges, with `pause` before each and before
// each look.
void ExchangeAndCheck(Transport& t, const std::vector<int>& ranks, int rounds,
                      const std::function<void()>& pause) {
  const auto exchange = MustCreate(t, ranks);
  std::vector<const void*> sources(ranks.size());
  for (int n = 0; n < rounds; ++n) {
    const int64_t bytes = std::vector<int64_t>{0, 1, kMostBytes, 64, 4097}[n % 5];
    const std::vector<char> in = Given(t.rank(), n, bytes);
    pause();
    ASSERT_EQ(exchange->Exchange(in.data(), bytes, absl::MakeSpan(sources)), absl::OkStatus());
    pause();
    for (size_t r = 0; r < ranks.size(); ++r) {
      const char* const got = static_cast<const char*>(sources[r]);
      EXPECT_TRUE(std::vector<char>(got, got + bytes) == Given(ranks[r], n, bytes))
          << "rank " << ranks[r] << ", exchange " << n;
    }
  }
}

TEST(HostExchange, HandsEveryContributionToAll) {
  for (const int size : {1, 2, 3, 5}) {
    SCOPED_TRACE(size);
    RunRanks(size, {}, [size](Transport& t) { ExchangeAndCheck(t, Everyone(size), 200, [] {}); });
  }
}

// The group's order is not the ranks', and the first of it makes the memory.
TEST(HostExchange, ServesGroups) {
  RunRanks(5, {}, [](Transport& t) {
    const bool odd = t.rank() % 2 == 1;
    ExchangeAndCheck(t, odd ? std::vector<int>{3, 1} : std::vector<int>{4, 0, 2}, 50, [] {});
  });
}

// Now this rank is late, now that one, for so long that the others nap.
TEST(HostExchange, WaitsForLaggards) {
  RunRanks(3, {}, [](Transport& t) {
    std::minstd_rand random(static_cast<unsigned>(t.rank()) + 1);
    ExchangeAndCheck(t, Everyone(3), 60, [&random] {
      const bool late = random() % 8 == 0;
      for (int i = late ? 20000 : 0; i > 0; --i) std::this_thread::yield();
    });
  });
}

TEST(HostExchange, CountsWhatItHandsOver) {
  RunRanks(3, {}, [](Transport& t) {
    const auto exchange = MustCreate(t, {0, 1, 2});
    const int64_t sent = t.total_bytes_sent();
    const int peer = (t.rank() + 1) % 3;
    const int64_t received = t.bytes_received(peer);
    std::vector<const void*> sources(3);
    const std::vector<char> in(1000);
    for (const int64_t bytes : {1000, 0, 234}) {
      ASSERT_TRUE(exchange->Exchange(in.data(), bytes, absl::MakeSpan(sources)).ok());
    }
    EXPECT_EQ(t.total_bytes_sent() - sent, 2 * 1234);
    EXPECT_EQ(t.bytes_received(peer) - received, 1234);
  });
}

TEST(HostExchange, PoisonEndsWaiting) {
  std::barrier all_have_it(4);
  RunRanks(4, {}, [&all_have_it](Transport& t) {
    const auto exchange = MustCreate(t, Everyone(4));
    all_have_it.arrive_and_wait();
    std::vector<const void*> sources(4);
    const char in = 1;
    if (t.rank() == 2) t.Poison(absl::DataLossError("out of luck"));
    // The others may wait already or come after it.
    const absl::Status status = exchange->Exchange(&in, 1, absl::MakeSpan(sources));
    EXPECT_EQ(status, absl::DataLossError("rank 2 failed: out of luck"));
    EXPECT_EQ(exchange->Exchange(&in, 1, absl::MakeSpan(sources)), status);
  });
}

TEST(HostExchange, PoisonEndsMeeting) {
  RunRanks(3, {}, [](Transport& t) {
    if (t.rank() == 1) return t.Poison(absl::InternalError("out of luck"));
    const auto exchange = HostExchange::Create(t, Everyone(3), kTag, kMostBytes);
    EXPECT_EQ(exchange.status(), absl::InternalError("rank 1 failed: out of luck"));
  });
  EXPECT_EQ(CountSharedMappings().named, 0);
  EXPECT_EQ(CountSharedMappings().nameless, 0);
}

TEST(HostExchange, DisagreementAboutBytesIsToldToAll) {
  RunRanks(2, {}, [](Transport& t) {
    const auto exchange = MustCreate(t, {0, 1});
    std::vector<const void*> sources(2);
    const char in[9] = {};
    const absl::Status status = exchange->Exchange(in, 8 + t.rank(), absl::MakeSpan(sources));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("bytes were sent"), std::string::npos) << status;
  });
}

// A rank that finds memory of another size than it expects does not use it, and neither do others.
TEST(HostExchange, NobodyHasItIfOneCannotOpenIt) {
  for (const int unable : {1, 2}) {
    RunRanks(3, {}, [unable](Transport& t) {
      const auto exchange =
          HostExchange::Create(t, Everyone(3), kTag, t.rank() == unable ? 100 : kMostBytes);
      ASSERT_EQ(exchange.status(), absl::OkStatus());
      EXPECT_EQ(*exchange, nullptr);
      EXPECT_EQ(t.status(), absl::OkStatus());
    });
  }
  EXPECT_EQ(CountSharedMappings().nameless, 0);
}

TEST(HostExchange, NobodyHasItIfItCannotBeMade) {
  RunRanks(3, {}, [](Transport& t) {
    const int64_t too_many = std::numeric_limits<int64_t>::max();
    const auto exchange =
        HostExchange::Create(t, Everyone(3), kTag, t.rank() == 0 ? too_many : kMostBytes);
    ASSERT_EQ(exchange.status(), absl::OkStatus());
    EXPECT_EQ(*exchange, nullptr);
  });
}

TEST(HostExchange, LeavesNothingBehind) {
  RunRanks(2, {}, [](Transport& t) {
    const auto exchange = MustCreate(t, {0, 1});
    std::vector<const void*> sources(2);
    // Both have their mapping from here until the next exchange, which each comes to after its
    // look.
    ASSERT_TRUE(exchange->Exchange(nullptr, 0, absl::MakeSpan(sources)).ok());
    EXPECT_EQ(CountSharedMappings().nameless, 2);
    EXPECT_EQ(CountSharedMappings().named, 0);
    ASSERT_TRUE(exchange->Exchange(nullptr, 0, absl::MakeSpan(sources)).ok());
  });
  EXPECT_EQ(CountSharedMappings().nameless, 0);
}

}  // namespace
}  // namespace weft
