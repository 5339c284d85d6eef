// Marked graphs: actors, channels and streams without their payload, run on a clock. The compile side
// takes each stream's firing order from such a run and proves by another that the plan ends; the run
// side proves its own part before it starts. With fixed lists firings do not depend on time, so that
// one run that ends proves that every run does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace weft {

// The actors, channels and streams of one rank or of all ranks. A value.
struct MarkedGraph {
  struct Actor {
    std::string name;
    int stream = 0;
    int firings_per_step = 1;
    double seconds = 0;    // of one firing
    // Who goes first of those that are ready, where no lists say: the lower round (that of a step's
    // first firing; each further firing is a round later), then the higher priority.
    int round = 0;
    double priority = 0;
    // Actors of one group (>= 0) fire together: the members of a collective, each on a stream of its
    // own, all with the same firings_per_step.
    int group = -1;
  };
  struct Consumer {
    int actor = 0;
    int reads_per_slot = 1;
    double after = -1;  // seconds into a firing, at which the slot is given back; -1: at its end
  };
  // As ChannelDef in runtime/plan.proto.
  struct Channel {
    std::string name;
    int producer = 0;
    std::vector<Consumer> consumers;
    int slots = 1;
    int writes_per_slot = 1;
    int initial = 0;
    double after = -1;  // seconds into the producer's firing, at which it is full; -1: at its end
  };
  std::vector<Actor> actors;
  std::vector<Channel> channels;
  int streams = 0;
  // Per stream, actors in firing order over one step. Empty: ready actors fire by (round, priority,
  // arrival, position in `actors`). A stream holds itself free for the first group in that order.
  std::vector<std::vector<int>> lists;
};

struct Schedule {
  struct Firing {
    int actor = 0;
    int64_t index = 0;  // of the actor, counted over all steps
    double start = 0;   // seconds
    double end = 0;
  };
  std::vector<std::vector<Firing>> streams;  // per stream in firing order
  double seconds = 0;                        // when the last firing ends
  // Why some actors never fire, one line a wait; empty if all did. The lines are a cycle, or end at
  // what nothing will ever produce.
  std::vector<std::string> stuck;
  bool complete() const { return stuck.empty(); }
};

// InvalidArgument naming the actor or channel unless indices, rates, groups and lists fit together and
// every channel returns to its initial marking at the end of a step.
absl::Status Check(const MarkedGraph& graph);

// Runs `steps` steps of a graph that passed Check, with messages that arrive when they leave and no gap
// between steps. O(n log n) in firings and messages. Pure; any thread.
Schedule RunMarkedGraph(const MarkedGraph& graph, int steps);

}  // namespace weft
