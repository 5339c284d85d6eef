// What a plan must satisfy before its actors are made.
#pragma once

#include "absl/status/status.h"
#include "runtime/marked_graph.h"
#include "runtime/plan.pb.h"

namespace weft {

// The plan's actors, channels, streams and lists without their payload.
MarkedGraph ToMarkedGraph(const Plan& plan);

// Whether the plan's parts fit together and it ends: indices, rates and lists, then a run of two steps
// on a clock. InvalidArgument names the actor or channel; FailedPrecondition shows the cycle of waits.
// Operands, kernels and memory are checked where actors are made. Dynamic streams: Unimplemented.
absl::Status CheckPlan(const Plan& plan);

}  // namespace weft
