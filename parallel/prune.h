// Prune: drops nodes whose results reach neither an output nor a variable's update.
#pragma once

#include "absl/status/status.h"
#include "graph/graph.h"
#include "parallel/pass.h"

namespace weft {

// Renumbers nodes; values of dropped nodes stay in the table without a producer and unused.
absl::Status Prune(Graph& graph, const PassContext& context);

}  // namespace weft
