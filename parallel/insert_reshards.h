// The pass that turns differing layouts into conversion nodes.
#pragma once

#include "absl/status/status.h"
#include "graph/graph.h"
#include "parallel/pass.h"

namespace weft {

// After InferLayouts: adds a node (op == nullptr; reason: who asked) per ReshardStep wherever a
// value lies otherwise than a node takes it, a graph output without annotation is to be fetched
// (B, on the first mesh), or an update is to replace its variable. Those that want one layout share
// one conversion, and a layout is made from another copy where that is cheaper. Every conversion
// node of the result is one step: MakeReshardStep of its operand's and its result's layouts. Moving
// conversions come right after the value's producer, local ones and those of inputs and variables
// right before their first use. Every conversion is recorded in context.conversions.
absl::Status InsertReshards(Graph& graph, const PassContext& context);

}  // namespace weft
