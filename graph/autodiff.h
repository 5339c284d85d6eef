// Reverse-mode differentiation: gradients are ops in the graph, emitted by each OpDef's own rule.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph_builder.h"

namespace weft {

// Emits the gradient of the scalar `loss`, times `seed` (of the loss's spec; Value(): 1), with
// respect to each of `targets` (values of the builder's graph) and returns them in order; Value()
// for a target that the loss does not depend on. A target made once per step gets a gradient made
// once per step: the sum over the microbatches. Names: "grad." and the scope of the op that is
// differentiated ("grad.layers.3.mlp.einsum"); the sum over the microbatches is called like its
// target, "grad.layers.3.mlp.up". Errors: a loss that is not a float scalar, or a seed that is not
// like it; an op on the way without a gradient.
absl::StatusOr<std::vector<Value>> Differentiate(GraphBuilder& builder, Value loss,
                                                 const std::vector<Value>& targets,
                                                 Value seed = Value());

}  // namespace weft
