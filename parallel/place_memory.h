// Memory placement: buffers whose lifetimes never overlap share addresses in a rank's arena.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace weft {

// Ticks of the virtual step (parallel/step_schedule.h), both ends included.
struct Lifetime {
  int64_t first = 0;
  int64_t last = 0;
};

// One contiguous request. Live during each of `lifetimes` (increasing, disjoint); empty: always
// live.
struct MemoryRequest {
  int64_t bytes = 0;
  std::vector<Lifetime> lifetimes;
};

struct Placement {
  std::vector<int64_t> offsets;  // parallel to the requests
  int64_t bytes = 0;             // arena size
  int64_t lower_bound = 0;       // largest sum of bytes live at one tick
};

// Alignment of every offset, in bytes.
inline constexpr int64_t kArenaAlignment = 64;

// Within 1 % of the lower bound where every request lives once a step; lives that recur by
// microbatch make the bound itself unreachable at times, and up to 2 % were lost on what was measured.
// Deterministic; O(n log n) beyond six thousand requests.
Placement PlaceMemory(absl::Span<const MemoryRequest> requests);

}  // namespace weft
