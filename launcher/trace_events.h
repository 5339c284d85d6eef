// A rank's part of a trace: what its firings were, as events of the Chrome trace format, which
// Perfetto and chrome://tracing show (docs/traces.md has the fields).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "actors/firing_times.h"
#include "parallel/compile.h"
#include "runtime/plan.pb.h"

namespace weft {

// JSON objects, a line each, separated by commas; empty for no times. The rank is the process, its
// streams are the threads. `times` plus `shift` nanoseconds are times of the trace; `device` is the
// rank's device for people. `plan` is the rank's of `program`. Errors: those of MessagesOf.
absl::StatusOr<std::string> TraceEvents(const Program& program, const Plan& plan,
                                        const std::string& device,
                                        const std::vector<FiringTime>& times, int64_t shift);

}  // namespace weft
