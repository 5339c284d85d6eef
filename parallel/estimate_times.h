// How long calls and firings take by the cost model: what orders the step and predicts its time.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "parallel/cost_model.h"
#include "parallel/lowered_program.h"

namespace weft {

// Work of `call` for member `index` of its mesh; none for a copy that lowering made.
Cost CallCost(const Graph& graph, const LoweredCall& call, int index);

// Ticks of `call` for member `index` of its mesh; at least 1.
int64_t CallTicks(const Graph& graph, const CostModel& cost, const LoweredCall& call, int index);

// Ticks of the conversion `node` for a world rank.
absl::StatusOr<int64_t> ReshardTicks(const Graph& graph, const CostModel& cost, const Node& node,
                                     int rank);

// Fills ticks of every call and actor, as the first member of its mesh has them: its boxes are the
// largest of every uneven split.
absl::Status EstimateTimes(const Graph& graph, const CostModel& cost, LoweredProgram& program);

}  // namespace weft
