// Lifetimes of a program's buffers in its global order.
#pragma once

#include <vector>

#include "parallel/lowered_program.h"
#include "parallel/place_memory.h"

namespace weft {

// Per buffer, when its memory is live over one step; empty for "always". Reuse is offered only
// between buffers that the compute stream alone touches, where the stream's own order makes it
// safe; what crosses streams is always live.
std::vector<std::vector<Lifetime>> BufferLifetimes(const LoweredProgram& program,
                                                   const std::vector<int>& order);

}  // namespace weft
