// Segments: which nodes fuse into one actor.
#pragma once

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
// itself. Writers of a variable come after all readers of its old content; a graph that reads it
// again after the writer is refused (InvalidArgument names the variable).
absl::StatusOr<std::vector<Segment>> FormSegments(const Graph& graph);

}  // namespace weft
