// The pass that decides how every value lies (design: "Infer layouts").
#pragma once

#include "absl/status/status.h"
#include "graph/graph.h"
#include "parallel/pass.h"

namespace weft {

// Decides ValueInfo::layout and Node::input_layouts for the least modelled time, by LayoutSearch.
// Annotations are facts: where an op makes an annotated value otherwise, a conversion node
// (op == nullptr) to the annotation follows the op. Graph outputs without annotation end B, updates
// in their variable's layout (parallel/insert_reshards.h adds those conversions, and all others).
// Errors: contradictory annotations, naming both values.
absl::Status InferLayouts(Graph& graph, const PassContext& context);

}  // namespace weft
