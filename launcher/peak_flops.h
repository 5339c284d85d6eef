// What "100 %" means in metrics' mfu: the machine's own rate of matrix products, measured.
#pragma once

#include "graph/graph.h"
#include "graph/op_def.h"
#include "runtime/kernel.h"

namespace weft {

// Arithmetic operations a second of one rank in a product of square matrices of `dtype`: the best
// of some runs of the einsum kernel, about 50 ms in all. Ranks that share cores must measure at the
// same time. 0 if the kernel is missing or refuses. Any thread.
double MeasurePeakFlops(const OpRegistry& ops, const KernelTable& kernels, DType dtype);

// Arithmetic operations of one step of the whole graph (not yet compiled: no recomputation, nothing
// twice), its per-microbatch part `microbatches` times.
double ModelFlops(const Graph& graph, int64_t microbatches);

}  // namespace weft
