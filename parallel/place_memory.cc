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

// First fit looks at pairs of requests: up to so many of these it is tried at all, then again and
// again until it has looked at so many pairs, gains nothing any more, or is within a thousandth of
// the bound.
constexpr size_t kRequestsLimit = 6'000;
constexpr int64_t kPairsLimit = 150'000'000;
constexpr int64_t kEnoughPart = 1000;
constexpr int kRoundsWithoutGain = 300;

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

// Which requests are live together. O(n^2) bits.
class Conflicts {
 public:
  explicit Conflicts(absl::Span<const MemoryRequest> requests)
      : words_((requests.size() + 63) / 64), bits_(requests.size() * words_, 0) {
    for (size_t a = 0; a < requests.size(); ++a) {
      for (size_t b = 0; b < a; ++b) {
        if (!Overlap(requests[a], requests[b])) continue;
        bits_[a * words_ + b / 64] |= uint64_t{1} << (b % 64);
        bits_[b * words_ + a / 64] |= uint64_t{1} << (a % 64);
      }
    }
  }
  bool operator()(int a, int b) const {
    return (bits_[static_cast<size_t>(a) * words_ + b / 64] >> (b % 64) & 1) != 0;
  }

 private:
  size_t words_;
  std::vector<uint64_t> bits_;
};

// Lowest gap that fits, in the order given.
Placement FirstFit(absl::Span<const MemoryRequest> requests, const Conflicts& conflicts,
                   const std::vector<int>& order) {
  struct Placed {
    int64_t begin, end;
    int request;
  };
  Placement placement;
  placement.offsets.assign(requests.size(), 0);
  std::vector<Placed> placed;  // by increasing offset
  placed.reserve(order.size());
  for (int r : order) {
    if (requests[r].bytes == 0) continue;
    const int64_t bytes = Align(requests[r].bytes);
    int64_t at = 0;
    for (const Placed& p : placed) {
      if (p.begin >= at + bytes) break;
      if (p.end > at && conflicts(r, p.request)) at = p.end;
    }
    placement.offsets[r] = at;
    placement.bytes = std::max(placement.bytes, at + bytes);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), at,
                         [](int64_t offset, const Placed& p) { return offset < p.begin; }),
        {at, at + bytes, r});
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

// First fit, by bytes, by time, and by their product; then a seeded search from the best of these:
// what ends highest, or something that keeps it up, moves to another place in the order, and the
// move stays unless it made things worse.
class FirstFitSearch {
 public:
  FirstFitSearch(absl::Span<const MemoryRequest> requests, Placement& best)
      : requests_(requests),
        best_(best),
        enough_(best.lower_bound + best.lower_bound / kEnoughPart),
        conflicts_(requests),
        pairs_(std::max<int64_t>(1, static_cast<int64_t>(requests.size()) *
                                        static_cast<int64_t>(requests.size()) / 2)) {}

  void Run() {
    std::vector<int64_t> span;
    for (const MemoryRequest& request : requests_) span.push_back(Span(request));
    const auto larger = [&](int a, int b) {
      return std::tie(requests_[a].bytes, span[a]) > std::tie(requests_[b].bytes, span[b]);
    };
    const auto longer = [&](int a, int b) { return span[a] > span[b]; };
    const auto more = [&](int a, int b) {
      return static_cast<double>(requests_[a].bytes) * static_cast<double>(span[a]) >
             static_cast<double>(requests_[b].bytes) * static_cast<double>(span[b]);
    };
    const size_t n = requests_.size();
    for (std::vector<int> order : {Sorted(n, larger), Sorted(n, longer), Sorted(n, more)}) {
      if (!Goes()) return;
      Try(std::move(order));
    }
    while (Goes()) {
      std::vector<int> order = order_;
      MoveOne(order);
      Try(std::move(order));
    }
  }

 private:
  bool Goes() const {
    return best_.bytes > enough_ && left_ >= pairs_ && idle_ < kRoundsWithoutGain;
  }

  void Try(std::vector<int> order) {
    left_ -= pairs_;
    ++idle_;
    Placement placement = FirstFit(requests_, conflicts_, order);
    if (placement.bytes < best_.bytes) {
      idle_ = 0;
      best_.bytes = placement.bytes;
      best_.offsets = placement.offsets;
    }
    if (!order_.empty() && placement.bytes > current_.bytes) return;
    current_ = std::move(placement);
    order_ = std::move(order);
  }

  int64_t Top(int r) const { return current_.offsets[r] + Align(requests_[r].bytes); }

  void MoveOne(std::vector<int>& order) {
    int moved = *std::max_element(order.begin(), order.end(),
                                  [this](int a, int b) { return Top(a) < Top(b); });
    // Down the stack of what holds it up, a random number of levels.
    while (random_() % 3 == 0) {
      std::vector<int> below;
      for (int r : order) {
        if (requests_[r].bytes > 0 && Top(r) == current_.offsets[moved] && conflicts_(moved, r)) {
          below.push_back(r);
        }
      }
      if (below.empty()) break;
      moved = below[random_() % below.size()];
    }
    const auto at = std::find(order.begin(), order.end(), moved);
    const auto to = order.begin() + static_cast<int64_t>(random_() % order.size());
    if (to <= at) {
      std::rotate(to, at, at + 1);
    } else {
      std::rotate(at, at + 1, to + 1);
    }
  }

  const absl::Span<const MemoryRequest> requests_;
  Placement& best_;
  const int64_t enough_;
  const Conflicts conflicts_;
  const int64_t pairs_;  // that one first fit looks at
  int64_t left_ = kPairsLimit;
  int idle_ = 0;  // rounds since the last gain
  std::minstd_rand random_{1};
  Placement current_;
  std::vector<int> order_;  // of current_
};

}  // namespace

Placement PlaceMemory(absl::Span<const MemoryRequest> requests) {
  Placement best = Stacked(requests);
  best.lower_bound = LowerBound(requests);
  if (best.bytes > best.lower_bound && requests.size() <= kRequestsLimit) {
    FirstFitSearch(requests, best).Run();
  }
  return best;
}

}  // namespace weft
