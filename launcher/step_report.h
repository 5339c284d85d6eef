// What ranks tell each other between steps: figures up to rank 0, its decision down to all.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "runtime/transport.h"

namespace weft {

struct StepReport {
  int64_t bytes_sent = 0;    // payload, this step; summed over ranks
  int64_t memory_bytes = 0;  // the largest rank's
};

enum class Decision : int64_t { kContinue = 0, kStop = 1, kInterrupt = 2 };

// Every rank calls it once a step. Rank 0 gets the combined report (others their own) and its
// `*decision`, or an interrupt that any rank saw, becomes everyone's.
absl::StatusOr<StepReport> ExchangeReports(Transport& transport, const StepReport& mine,
                                           Decision* decision);

}  // namespace weft
