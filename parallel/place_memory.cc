#include "parallel/place_memory.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <tuple>
#include <utility>

#include "parallel/skyline.h"

namespace weft {
namespace {

// First fit looks at pairs of lives: it is tried again and again, but not beyond so many pairs.
constexpr int64_t kPairsLimit = 100'000'000;
constexpr int kRounds = 100;
constexpr int kRoundsWithoutGain = 25;

bool Overlap(const MemoryRequest& a, const MemoryRequest& b) {
  if (a.lifetimes.empty() || b.lifetimes.empty()) return true;
  size_t i = 0, j = 0;
  while (i < a.lifetimes.size() && j < b.lifetimes.size()) {
    if (a.lifetimes[i].last < b.lifetimes[j].first) {
      ++i;
    } else if (b.lifetimes[j].last < a.lifetimes[i].first) {
      ++j;
    } else {
      return true;
    }
  }
  return false;
}

int64_t Align(int64_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

int64_t LowerBound(absl::Span<const MemoryRequest> requests) {
  std::map<int64_t, int64_t> change;
  int64_t always = 0;
  for (const MemoryRequest& request : requests) {
    if (request.lifetimes.empty()) always += Align(request.bytes);
    for (const Lifetime& life : request.lifetimes) {
      change[life.first] += Align(request.bytes);
      change[life.last + 1] -= Align(request.bytes);
    }
  }
  int64_t live = always, most = always;
  for (const auto& [tick, delta] : change) {
    live += delta;
    most = std::max(most, live);
  }
  return most;
}

std::vector<int> Sorted(size_t n, const std::function<bool(int, int)>& before) {
  std::vector<int> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), before);
  return order;
}

// Lowest gap that fits, in the order given.
Placement FirstFit(absl::Span<const MemoryRequest> requests, const std::vector<int>& order) {
  Placement placement;
  placement.offsets.assign(requests.size(), 0);
  std::vector<int> placed;  // by increasing offset
  for (int r : order) {
    if (requests[r].bytes == 0) continue;
    const int64_t bytes = Align(requests[r].bytes);
    int64_t at = 0;
    for (int p : placed) {
      if (placement.offsets[p] >= at + bytes) break;
      if (!Overlap(requests[r], requests[p])) continue;
      at = std::max(at, placement.offsets[p] + Align(requests[p].bytes));
    }
    placement.offsets[r] = at;
    placement.bytes = std::max(placement.bytes, at + bytes);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), at,
                         [&](int64_t offset, int p) { return offset < placement.offsets[p]; }),
        r);
  }
  return placement;
}

int64_t Span(const MemoryRequest& request) {
  int64_t ticks = 0;
  for (const Lifetime& life : request.lifetimes) ticks += life.last - life.first + 1;
  return request.lifetimes.empty() ? INT64_MAX : ticks;
}

// On top of all that is live at the same time, longest-lived first: what training keeps from the
// forward to the backward pass nests, and nested lives stack without a gap.
Placement Stacked(absl::Span<const MemoryRequest> requests) {
  Placement placement;
  placement.offsets.assign(requests.size(), 0);
  std::vector<int64_t> begins;
  for (const MemoryRequest& request : requests) {
    for (const Lifetime& life : request.lifetimes) {
      begins.push_back(life.first);
      begins.push_back(life.last + 1);
    }
  }
  Skyline skyline(std::move(begins));
  std::vector<int64_t> span(requests.size());
  for (size_t r = 0; r < requests.size(); ++r) span[r] = Span(requests[r]);
  for (int r : Sorted(requests.size(), [&](int a, int b) {
         return span[a] != span[b] ? span[a] > span[b] : requests[a].bytes > requests[b].bytes;
       })) {
    if (requests[r].bytes == 0) continue;
    int64_t at = requests[r].lifetimes.empty() ? skyline.highest() : 0;
    for (const Lifetime& life : requests[r].lifetimes) {
      at = std::max(at, skyline.Highest(life.first, life.last + 1));
    }
    const int64_t top = at + Align(requests[r].bytes);
    if (requests[r].lifetimes.empty()) skyline.RaiseAll(top);
    for (const Lifetime& life : requests[r].lifetimes) {
      skyline.Raise(life.first, life.last + 1, top);
    }
    placement.offsets[r] = at;
    placement.bytes = std::max(placement.bytes, top);
  }
  return placement;
}

// First fit, by bytes, by time, and by their product; then a seeded search: what ends highest moves
// to an earlier place in the order, and the move stays unless it made things worse.
void TryFirstFit(absl::Span<const MemoryRequest> requests, Placement& best) {
  int64_t lives = 0;
  for (const MemoryRequest& request : requests) {
    lives += std::max<int64_t>(1, static_cast<int64_t>(request.lifetimes.size()));
  }
  const int64_t pairs = static_cast<int64_t>(requests.size()) * lives;
  std::vector<int64_t> span(requests.size());
  for (size_t r = 0; r < requests.size(); ++r) span[r] = Span(requests[r]);
  const auto larger = [&](int a, int b) {
    return std::tie(requests[a].bytes, span[a]) > std::tie(requests[b].bytes, span[b]);
  };
  const auto longer = [&](int a, int b) { return span[a] > span[b]; };
  const auto more = [&](int a, int b) {
    return static_cast<double>(requests[a].bytes) * span[a] >
           static_cast<double>(requests[b].bytes) * span[b];
  };
  const auto highest = [&](const Placement& placement, const std::vector<int>& order) {
    return std::max_element(order.begin(), order.end(), [&](int a, int b) {
      return placement.offsets[a] + requests[a].bytes < placement.offsets[b] + requests[b].bytes;
    });
  };
  std::minstd_rand random(1);
  int64_t left = kPairsLimit;
  const size_t n = requests.size();
  for (std::vector<int> order : {Sorted(n, larger), Sorted(n, longer), Sorted(n, more)}) {
    Placement current;
    current.bytes = INT64_MAX;
    std::vector<int> next = order;
    int idle = 0;  // rounds since the last gain
    for (int round = 0; round < kRounds && idle < kRoundsWithoutGain && left >= pairs &&
                        best.bytes > best.lower_bound;
         ++round, ++idle, left -= pairs) {
      Placement placement = FirstFit(requests, next);
      if (placement.bytes < best.bytes) {
        best.bytes = placement.bytes;
        best.offsets = placement.offsets;
      }
      if (placement.bytes < current.bytes) idle = 0;
      if (placement.bytes <= current.bytes) {
        current = std::move(placement);
        order = next;
      }
      next = order;
      const auto top = next.begin() + (highest(current, order) - order.begin());
      std::rotate(next.begin() + random() % (top - next.begin() + 1), top, top + 1);
    }
  }
}

}  // namespace

Placement PlaceMemory(absl::Span<const MemoryRequest> requests) {
  Placement best = Stacked(requests);
  best.lower_bound = LowerBound(requests);
  TryFirstFit(requests, best);
  return best;
}

}  // namespace weft
