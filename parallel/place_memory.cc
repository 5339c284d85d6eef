#include "parallel/place_memory.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace weft {
namespace {

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
  for (const auto& [position, delta] : change) {
    live += delta;
    most = std::max(most, live);
  }
  return most;
}

}  // namespace

Placement PlaceMemory(absl::Span<const MemoryRequest> requests) {
  Placement placement;
  placement.offsets.assign(requests.size(), 0);
  placement.lower_bound = LowerBound(requests);
  std::vector<int> order(requests.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return requests[a].bytes > requests[b].bytes; });
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

}  // namespace weft
