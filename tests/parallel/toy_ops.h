// A few ops without kernels: enough to write a network whose layouts have a known best answer.
#pragma once

#include "graph/op_def.h"

namespace weft {

// contract(a, b, addend?; equation "bi,io->bo", dtype "f32" or that of a), add(a, b), add_n(xs...),
// cast(x) to bf16, widen(x) to f32, relu(x), norm(x) over the last dimension, total(x) (the sum of
// all), accumulate(x) over microbatches, step(param, grad)->param' (grad may be narrower),
// fill(; shape, value).
OpRegistry ToyOps();

}  // namespace weft
