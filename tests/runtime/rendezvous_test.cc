#include "runtime/rendezvous.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

// Every rank with every other but one pair; what is sent differs in length, nothing and much too.
TEST(RendezvousTest, SwappedBytesArriveByPeer) {
  constexpr int kRanks = 4;
  const auto word = [](int from, int to) {
    return from == 2 ? std::string() : std::string(from * 100000 + to, static_cast<char>('a' + to));
  };
  testing::RunRanks(kRanks, {}, [&](Transport& t) {
    std::vector<int> peers;
    std::vector<std::string> words;
    for (int peer = kRanks - 1; peer >= 0; --peer) {
      if (peer == t.rank() || peer + t.rank() == 3) continue;
      peers.push_back(peer);
      words.push_back(word(t.rank(), peer));
    }
    for (int round = 0; round < 2; ++round) {
      const auto got = SwapBytes(t, peers, words);
      ASSERT_TRUE(got.ok()) << got.status();
      ASSERT_EQ(got->size(), peers.size());
      for (size_t i = 0; i < peers.size(); ++i) {
        EXPECT_EQ((*got)[i], word(peers[i], t.rank())) << peers[i] << " to " << t.rank();
      }
    }
  });
}

TEST(RendezvousTest, SwapEndsWithAFailure) {
  testing::RunRanks(2, {}, [](Transport& t) {
    if (t.rank() == 1) {
      t.Poison(absl::InternalError("out of luck"));
      return;
    }
    const int peer = 1;
    const std::string word = "x";
    EXPECT_FALSE(SwapBytes(t, {&peer, 1}, {&word, 1}).ok());
  });
}

}  // namespace
}  // namespace weft
