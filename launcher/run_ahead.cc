#include "launcher/run_ahead.h"

#include "runtime/status.h"

namespace weft {

absl::StatusOr<RunAheadEnd> RunAhead(int64_t first, int64_t steps, int64_t most_in_flight,
                                     const RunAheadCalls& calls) {
  RunAheadEnd end{.done = first};
  int64_t submitted = first;
  for (;;) {
    const bool more = submitted < steps && end.decision == Decision::kContinue;
    const bool idle = submitted == end.done;
    if (more && (idle || (submitted - end.done < most_in_flight && !calls.settles(submitted)))) {
      WEFT_RETURN_IF_ERROR(calls.submit(submitted));
      ++submitted;
      continue;
    }
    if (idle) return end;
    WEFT_ASSIGN_OR_RETURN(const Decision decision, calls.collect(end.done));
    ++end.done;
    if (end.decision != Decision::kInterrupt && decision != Decision::kContinue) {
      end.decision = decision;
    }
    if (submitted > end.done) continue;
    const bool last = submitted == steps || end.decision != Decision::kContinue;
    if (last || calls.settles(end.done)) WEFT_RETURN_IF_ERROR(calls.settle(end.done, last));
  }
}

}  // namespace weft
