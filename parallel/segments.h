// Segments: which nodes fuse into one actor.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "parallel/lowered_program.h"

namespace weft {

struct Segment {
  StreamId stream = StreamId::kCompute;
  bool microbatch = false;  // fires once per microbatch
  std::vector<int> nodes;   // in execution order
};

// Partitions the nodes into segments, listed in data-flow order. A conversion is a segment by
// itself, on the communication stream if it sends anything. A compute segment ends where a
// conversion's result enters again, where rate or mesh change, after every `bucket_bytes` of
// per-step sums (gradients) that it hands to conversions, or of gathered parameters that it takes
// from them (one bucket travels under the computation of another), and after some number of nodes
// in any case. Within a segment, what a conversion takes whose result the microbatch goes on with
// comes before other work, which then runs while it travels. Writers of a variable come after all
// readers of its old content; a graph that reads it again after the writer is refused
// (InvalidArgument), and so is one that reads a sum over several microbatches in one of them.
absl::StatusOr<std::vector<Segment>> FormSegments(const Graph& graph, int microbatches,
                                                  int64_t bucket_bytes);

}  // namespace weft
