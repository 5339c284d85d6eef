// MemoryTransport under the transport conformance cases, with instant and with simulated links.
#include "runtime/transport.h"

#include <chrono>
#include <mutex>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "runtime/memory_transport.h"
#include "tests/support/run_ranks.h"
#include "tests/support/transport_cases.h"

namespace weft {
namespace {

using testing::PoisonReachesAllRanks;
using testing::RunRanks;
using testing::TransportCase;
using testing::TransportCases;

LinkModel Reordering(uint64_t seed) {
  return {.latency = std::chrono::microseconds(5),
          .jitter = std::chrono::microseconds(200),
          .seed = seed};
}

TEST(Transport, ConformsInMemory) {
  for (const int size : {1, 2, 3, 5}) {
    for (const TransportCase& test : TransportCases()) {
      SCOPED_TRACE(test.name);
      RunRanks(size, {}, test.run);
    }
  }
}

TEST(Transport, ConformsWhenTagsOvertakeEachOther) {
  for (const uint64_t seed : {1, 2, 3}) {
    for (const TransportCase& test : TransportCases()) {
      SCOPED_TRACE(test.name);
      RunRanks(3, Reordering(seed), test.run);
    }
  }
}

TEST(Transport, PoisonReachesAllRanksInMemory) {
  for (const int size : {1, 2, 4}) {
    RunRanks(size, {}, PoisonReachesAllRanks);
    RunRanks(size, Reordering(size), PoisonReachesAllRanks);
  }
}

TEST(Transport, RanksThatFailAtOnceAgreeOnOneFailure) {
  for (const int size : {2, 4}) {
    std::mutex mutex;
    std::set<std::string> answers;
    RunRanks(size, {}, [&](Transport& transport) {
      const std::string answer = testing::AgreedFailure(transport);
      const std::lock_guard<std::mutex> lock(mutex);
      answers.insert(answer);
    });
    EXPECT_EQ(answers.size(), 1u);
  }
}

TEST(Transport, LinksTakeLatencyAndBandwidth) {
  const LinkModel links{.latency = std::chrono::milliseconds(3), .bytes_per_second = 1e8};
  MemoryNetwork network(2, links);
  const std::vector<char> out(1000000);  // 10 ms each
  std::vector<char> in(2 * out.size());
  Request sends[2];
  Request receives[2];
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 2; ++i) {
    network.endpoint(0).Send(1, 0, out.data(), out.size(), &sends[i]);
    network.endpoint(1).Receive(0, 0, in.data() + i * out.size(), out.size(), &receives[i]);
  }
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(receives[i].Wait().ok());
  const auto taken = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(taken, std::chrono::milliseconds(23));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(sends[i].Wait().ok());
}

}  // namespace
}  // namespace weft
