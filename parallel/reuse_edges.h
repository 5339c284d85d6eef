// Reuse edges: channels without payload that keep a buffer's writer waiting until other streams
// have left the memory it takes over.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/lifetimes.h"
#include "parallel/lowered_program.h"
#include "parallel/step_schedule.h"

namespace weft {

// `producer` sends, `consumer` waits, as ChannelDef has it. Rates 1: consumer firing k needs
// producer firing k, or k - 1 if `initial` is 1. Other rates: the consumer's first firing of a step
// needs all firings of the producer's step, or of the step before if `initial` is 1.
struct ReuseEdge {
  int producer = 0;  // actor
  int consumer = 0;  // actor
  int writes_per_slot = 1;
  int reads_per_slot = 1;
  int initial = 0;
  int slots = 1;
  int after = 0;  // calls of the producer's firing after which it sends; none if it has no calls
};

// Memory that may be shared: bytes [begin, end) of the arena, during `lives`.
struct SharedMemory {
  const std::vector<BufferLife>* lives = nullptr;
  int64_t begin = 0;
  int64_t end = 0;
  // Whether who begins a life must be kept from the one before it, too: no channel does, as it does
  // for the buffer of a channel.
  bool renewed = false;
};

struct ReuseEdges {
  std::vector<ReuseEdge> edges;
  // Indices of what must not be shared after all, increasing: no channel expresses the order that
  // it takes. Empty: the edges, with what the program's own channels order, keep all lives apart.
  std::vector<int> unorderable;
};

// Edges for a placement, only where streams and channels do not order writer after reader already.
// All agree with the schedule's order and so cannot deadlock. Deterministic.
ReuseEdges FindReuseEdges(const LoweredProgram& program, const StepSchedule& schedule,
                          const std::vector<SharedMemory>& memory);

}  // namespace weft
