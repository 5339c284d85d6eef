// Simulation: the plans of all ranks run together on virtual streams, with the durations that the
// plans predict for computation and a table of links for messages. Nothing is computed, sent or
// allocated, so that a laptop runs the plans of a cluster.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "actors/plan_messages.h"
#include "runtime/plan.pb.h"

namespace weft {

// What a message from one rank to another takes, both ends' copies included.
struct Link {
  double latency = 0;  // seconds per message
  double bytes_per_second = std::numeric_limits<double>::infinity();
  double Seconds(int64_t bytes) const {
    return latency + static_cast<double>(bytes) / bytes_per_second;
  }
};
using LinkTable = std::function<Link(int from, int to)>;

// What the messages of one firing on one rank take, one after the other.
struct MessageCost {
  double sending = 0, receiving = 0;  // seconds
  int64_t bytes_sent = 0;
};
// Equal, to the last bit, for equal sizes over equal links in whatever order. O(n log n).
MessageCost CostOf(const std::vector<PlanMessage>& messages, int rank, const LinkTable& links);

// Times are seconds per step: means over the simulated steps, the first of which starts cold.
struct Simulation {
  // One firing of the first step, in seconds from its begin.
  struct Firing {
    int actor = 0;  // of the rank's plan
    int index = 0;  // of the actor within the step
    double begin = 0;
    double end = 0;
    bool operator==(const Firing&) const = default;
  };
  struct Rank {
    // By stream, in firing order; of the ranks that were asked for.
    std::vector<std::vector<Firing>> first_step;
    std::vector<double> busy;          // by stream
    double exposed_communication = 0;  // messages travel while nothing computes
    int64_t bytes_sent = 0;            // payload to other ranks, per step
    int64_t memory_bytes = 0;          // arena and variables
  };
  // Computation that stood still until another actor ended, summed over a step and taken from the
  // rank where that is longest.
  struct Wait {
    double seconds = 0;
    int rank = 0;
    std::string actor;  // stood still,
    std::string cause;  // until this one, of the same rank, ended
    // Where the cause is a collective: the member that came last to it, and how long after `rank`.
    int late_rank = -1;
    double late_seconds = 0;
  };
  double step_seconds = 0;
  std::vector<std::string> streams;  // names
  std::vector<Rank> ranks;           // by world rank
  std::vector<Wait> waits;           // longest first
};

// Runs `steps` (at least 1) steps of `world_size` ranks; `plan_of` gives each rank's plan once. The
// members of a collective, and the ranks that an exchange ties together, fire as one, when the last
// is ready, for as long as the slowest of them sends or receives its messages one after the other.
// `twins`, unless empty, names for each rank the lowest that does the same at the same time: equal
// lists and durations, and messages to twins of the same peers over equal links. Plans are then
// asked for and run of those lowest alone, and the others are as they; waits name the lowest.
// `recorded` are the ranks whose first step is kept. Pure but for `plan_of`; O(n log n) in firings.
// Errors: those of `plan_of`; InvalidArgument naming rank and actor for plans that do not fit
// together; FailedPrecondition with the cycle if together they would never end.
absl::StatusOr<Simulation> SimulatePlans(
    int world_size, const std::function<absl::StatusOr<Plan>(int rank)>& plan_of,
    const LinkTable& links, int steps, const std::vector<int>& twins = {},
    const std::vector<int>& recorded = {});

}  // namespace weft
