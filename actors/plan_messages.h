// What an actor of a plan puts on the network in one firing. Simulation prices these messages;
// their sum over a step is what the plan predicts and the transport counts.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/plan.pb.h"

namespace weft {

// Payload that travels between this rank and another. A value.
struct PlanMessage {
  int peer = 0;  // world rank, never the plan's own
  int64_t bytes = 0;
  bool is_send = false;
};

// The messages of one firing of actor `actor`, in the order in which they start. All-reduces list
// what they send (their receives mirror it), by the rules of runtime/collective_bytes.h; a transfer
// in several pieces is one message. InvalidArgument names a buffer or box that the plan does not
// have.
absl::StatusOr<std::vector<PlanMessage>> MessagesOf(const Plan& plan, int actor);

}  // namespace weft
