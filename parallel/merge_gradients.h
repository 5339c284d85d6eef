// Merge gradients: an op and the op of its gradient become one (OpDef::merges) where all that the
// gradient takes besides is known before the forward op runs. What both would compute is computed
// once: the logits of a head whose loss has a gradient that does not depend on them.
#pragma once

#include "absl/status/status.h"
#include "graph/graph.h"
#include "parallel/pass.h"

namespace weft {

// Runs where every node has its layouts and conversions are nodes. The two ops are merged if the
// gradient op reads the forward op's results as they are made, and the operands that both have are
// the same values in the same layouts; if its other operands do not depend on the forward op, nor
// on the update of a variable; if both run as often, on one mesh; and if their layouts together are
// legal for the merged op, whose kernel may need more of an operand on one rank than theirs. It
// stands where the forward op did, behind what makes the other operands; values keep their names
// and layouts. A forward op without a gradient op, as in evaluation, stays as it is.
absl::Status MergeGradients(Graph& graph, const PassContext& context);

}  // namespace weft
