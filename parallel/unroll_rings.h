// The pass that turns a split which no rank's kernel can work on by itself into a ring of meetings.
#pragma once

#include "absl/status/status.h"
#include "graph/graph.h"
#include "parallel/pass.h"

namespace weft {

// After InsertReshards: a node whose layouts split both a factor and the one that it meets over a
// mesh axis (Factor::meets; attention over the sequence) becomes what its op's unroll function
// emits (graph/ring_context.h): one op per meeting, and conversions that carry parts from rank to
// rank, listed in context.conversions. Over several such axes the rings nest.
absl::Status UnrollRings(Graph& graph, const PassContext& context);

}  // namespace weft
