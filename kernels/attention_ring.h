// Attention over a sequence that is split: what happens when queries meet another rank's keys
// (graph/ring_context.h).
#pragma once

#include "graph/ring_context.h"

namespace weft {

// attention: keys and values travel; o and lse are merged in f32 (f64 in checks), so that the error
// does not grow with the number of parts.
void UnrollAttention(RingContext& ring);

// attention_grad: either keys, values and their gradients travel, or queries and all that belongs
// to them, whichever is fewer bytes. Gradients travel and add up in f32.
void UnrollAttentionGrad(RingContext& ring);

}  // namespace weft
