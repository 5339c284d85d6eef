// StallReport: what a rank is doing, in words: the earliest unfinished firing of each stream, and
// for what each waits. It goes by what the streams have completed, not by what the host has
// launched.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "actors/executor.h"

namespace weft {

// A picture of one moment. Made and used on the actor thread; the executor outlives it.
class StallReport {
 public:
  explicit StallReport(const Executor& executor);

  // "rank 0: in step 7\n  stream `compute`: `stage1.fwd` (firing 3) waits: input
  // `h` from `recv`, slot 2 of 2, 8.1 s\n...".
  std::string ToString() const;

  // An actor whose firing has begun and cannot end without other ranks.
  struct Wait {
    std::string actor;
    std::vector<int> ranks;
  };
  std::vector<Wait> WaitsForRanks() const;

 private:
  // An unfinished firing of an actor: its number over all steps; -1 if none is launched.
  struct Head {
    int actor = -1;
    int64_t firing = -1;
  };
  std::string Describe(const Head& head) const;
  // Why a launched firing has not begun: a slot that is not yet full or free; empty if none.
  std::string MissingSlot(const Head& head) const;

  const Executor& executor_;
  std::vector<int64_t> done_;  // firings that have ended, by actor
  std::vector<Head> heads_;    // by stream
};

}  // namespace weft
