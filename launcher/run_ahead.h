// RunAhead: the order in which a training loop submits steps and collects their results. While step
// s runs, step s + 1 is submitted, so that no stream waits for the host; what step s gave is looked
// at then.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "launcher/step_report.h"

namespace weft {

// What the loop calls; all on the calling thread. The first error ends it.
struct RunAheadCalls {
  // Starts step `step`; at most `most_in_flight` are in flight after it.
  std::function<absl::Status(int64_t step)> submit;
  // Waits for step `step`, the oldest in flight, and says whether to go on.
  std::function<absl::StatusOr<Decision>(int64_t step)> collect;
  // Whether something reads the variables as they are after `done` steps: then no further step is
  // submitted before `collect` and `settle` have returned. So it is after the last step.
  std::function<bool(int64_t done)> settles;
  // `done` steps have been collected and none is in flight. `end`: none will follow.
  std::function<absl::Status(int64_t done, bool end)> settle;
};

struct RunAheadEnd {
  int64_t done = 0;  // steps, those before `first` included
  Decision decision = Decision::kContinue;
};

// Runs steps first, first + 1, ... until `steps` are done or `collect` says otherwise; what is in
// flight then is still collected and counts. An interrupt among the last decisions prevails.
// `settle` is called wherever `settles` says so, and in the end if any step was run. Decisions are
// the same on all ranks, so all ranks run the same steps.
absl::StatusOr<RunAheadEnd> RunAhead(int64_t first, int64_t steps, int64_t most_in_flight,
                                     const RunAheadCalls& calls);

}  // namespace weft
