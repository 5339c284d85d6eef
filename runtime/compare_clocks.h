// How far ranks' clocks are apart, so that what they noted can be laid side by side.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "runtime/time_marks.h"
#include "runtime/transport.h"

namespace weft {

struct ClockDifference {
  // This rank's time plus `ahead` is rank 0's, to within `error`; nanoseconds.
  int64_t ahead = 0;
  int64_t error = 0;  // half of the quickest round trip
};

// Every rank calls it, on one thread each; blocks. Each rank asks rank 0 for its time, several
// times over, and believes the quickest answer (Cristian 1989, "Probabilistic clock
// synchronization"). Where that answer allows it the difference is 0, so that ranks of one machine
// have one clock. `now` is the rank's clock. Fails only with the transport's poison.
absl::StatusOr<ClockDifference> CompareClocks(Transport& transport,
                                              int64_t (*now)() = &HostNanoseconds);

}  // namespace weft
