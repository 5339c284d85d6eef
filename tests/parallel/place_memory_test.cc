// The placer: nothing that is live together overlaps, and little more than the lower bound is
// needed.
#include "parallel/place_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace weft {
namespace {

bool LiveTogether(const MemoryRequest& a, const MemoryRequest& b) {
  if (a.lifetimes.empty() || b.lifetimes.empty()) return true;
  for (const Lifetime& x : a.lifetimes) {
    for (const Lifetime& y : b.lifetimes) {
      if (x.first <= y.last && y.first <= x.last) return true;
    }
  }
  return false;
}

void ExpectApart(const std::vector<MemoryRequest>& requests, const Placement& placement) {
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(placement.offsets[i] % kArenaAlignment, 0);
    EXPECT_LE(placement.offsets[i] + requests[i].bytes, placement.bytes);
    for (size_t j = 0; j < i; ++j) {
      if (requests[i].bytes == 0 || requests[j].bytes == 0) continue;
      const bool apart = placement.offsets[i] + requests[i].bytes <= placement.offsets[j] ||
                         placement.offsets[j] + requests[j].bytes <= placement.offsets[i];
      EXPECT_TRUE(apart || !LiveTogether(requests[i], requests[j])) << i << " and " << j;
    }
  }
  EXPECT_GE(placement.bytes, placement.lower_bound);
}

TEST(PlaceMemoryTest, RandomLivesNeverOverlap) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<MemoryRequest> requests(random() % 60);
    for (MemoryRequest& request : requests) {
      request.bytes = static_cast<int64_t>(random() % 1000);
      int64_t tick = 0;
      for (size_t lives = random() % 4; lives > 0; --lives) {
        const int64_t first = tick + static_cast<int64_t>(random() % 30);
        tick = first + static_cast<int64_t>(random() % 20) + 1;
        request.lifetimes.push_back({first, tick - 1});
      }
    }
    ExpectApart(requests, PlaceMemory(requests));
  }
}

// What training asks for: layers that keep activations for the backward pass and use temporaries.
std::vector<MemoryRequest> TrainingStep(int layers, std::mt19937_64& random) {
  std::vector<MemoryRequest> requests;
  const int64_t end = 20 * layers;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const int64_t forward = 10 * layer, backward = end - 10 * (layer + 1);
    for (int64_t k = 0; k < 5; ++k) {
      const int64_t bytes = 64 * (1 + static_cast<int64_t>(random() % 64));
      requests.push_back({bytes, {{forward + k, backward + 9 - k}}});
      requests.push_back({bytes / 2, {{forward + k, forward + k + 2}}});
      requests.push_back({bytes, {{backward + k, backward + k + 3}}});
    }
  }
  return requests;
}

TEST(PlaceMemoryTest, WithinOnePercentOfTheLowerBoundOnTrainingSteps) {
  std::mt19937_64 random(3);
  for (int layers : {1, 2, 4, 12, 24, 96}) {
    const std::vector<MemoryRequest> requests = TrainingStep(layers, random);
    const Placement placement = PlaceMemory(requests);
    ExpectApart(requests, placement);
    EXPECT_LE(placement.bytes, placement.lower_bound + placement.lower_bound / 100) << layers;
  }
}

TEST(PlaceMemoryTest, ThousandsOfLayers) {
  std::mt19937_64 random(5);
  const std::vector<MemoryRequest> requests = TrainingStep(5000, random);
  const Placement placement = PlaceMemory(requests);
  EXPECT_LE(placement.bytes, placement.lower_bound + placement.lower_bound / 100);
}

TEST(PlaceMemoryTest, MemoryWithoutLivesIsNeverShared) {
  const std::vector<MemoryRequest> requests = {{64, {}}, {128, {{0, 3}}}, {128, {{4, 5}}}, {1, {}}};
  const Placement placement = PlaceMemory(requests);
  ExpectApart(requests, placement);
  EXPECT_EQ(placement.bytes, 256);
  EXPECT_EQ(placement.offsets[1], placement.offsets[2]);
}

}  // namespace
}  // namespace weft
