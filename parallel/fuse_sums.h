// Fuse sums: an op that can add an operand to its result (OpDef::addend) takes over a sum in which
// the result is a term, so that the result is not written, read again and added by another kernel.
// A matrix product adds what it finds in memory anyway: residual sums of a forward pass and the
// sums of gradients of a backward pass cost nothing then but reading the other term.
#pragma once

#include "absl/status/status.h"
#include "graph/graph.h"
#include "parallel/pass.h"

namespace weft {

// Runs where every node has its layouts and conversions are nodes. A term t joins a result p if the
// sum alone reads p; if t, p and the sum have one spec and lie alike, partial sums included (no
// conversion is between them then); if t is there before the op of p in the order of the graph; and
// if the op then waits for no more conversions, one after another, than before, so that nothing
// that travels is exposed, and runs as often. Sums of which one term is left vanish; values whose
// only reader vanished stay in the table without a producer.
absl::Status FuseSums(Graph& graph, const PassContext& context);

}  // namespace weft
