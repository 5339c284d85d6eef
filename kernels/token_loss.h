// The loss of a batch of tokens from what head_cross_entropy gives.
#pragma once

#include "graph/op_def.h"

namespace weft {

// Adds token_loss and its gradient op; called by DefineHeadCrossEntropy.
void DefineTokenLoss(OpRegistry& ops);

}  // namespace weft
