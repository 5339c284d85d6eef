// Fuse casts: mixed precision keeps gradients in 16 bits until the optimizer, which keeps them in
// 32, and each cast between reads and writes a gradient once more. Where the op that makes a value
// can make it in the wider type (OpDef::wide_result), it does so, in place of a cast and without
// the rounding before it; where it cannot, ops that read the narrow type as well
// (OpDef::takes_narrow) read what the cast read.
#pragma once

#include "absl/status/status.h"
#include "graph/graph.h"
#include "parallel/pass.h"

namespace weft {

// Runs where every node has its layouts and conversions are nodes, behind FuseSums: an op that adds
// something narrow makes a narrow result. A cast to a wider float goes in one of two ways:
// - Its operand is read by it alone and made, without a conversion between, by an op that can make
//   the cast's result, which lies alike.
// - Else, all readers of its result take the narrow type: the same bits, as widening is exact. A
//   sum over microbatches may come between if there is one microbatch, and is then narrow itself;
//   sums of several stay wide.
// Values of casts that went stay in the table without a producer.
absl::Status FuseCasts(Graph& graph, const PassContext& context);

}  // namespace weft
