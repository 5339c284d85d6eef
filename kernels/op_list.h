// The functions that define ops, one per family. Each is called once, by DefineAllOps; there is no
// static registration, so a static library cannot drop an op and tests may define a subset.
#pragma once

#include "graph/op_def.h"

namespace weft {

// Adds the family's ops to `ops`. CHECKs that none of the names is taken.
void DefineUnary(OpRegistry& ops);   // neg, exp, log, ..., scale, and their gradient ops
void DefineBinary(OpRegistry& ops);  // add, sub, mul, div, maximum, equal
void DefineCast(OpRegistry& ops);
void DefineGelu(OpRegistry& ops);
void DefineSiluGate(OpRegistry& ops);
void DefineReduce(OpRegistry& ops);  // reduce_sum, reduce_mean, reduce_max
void DefineReshape(OpRegistry& ops);
void DefineTranspose(OpRegistry& ops);
void DefineSlice(OpRegistry& ops);  // slice and its inverse, pad
void DefineConcat(OpRegistry& ops);
void DefineBroadcastTo(OpRegistry& ops);
void DefineSoftmax(OpRegistry& ops);
void DefineRandom(OpRegistry& ops);  // random_normal, random_uniform, fill
void DefineDropout(OpRegistry& ops);
void DefineAccumulate(OpRegistry& ops);
void DefineAddN(OpRegistry& ops);
void DefineSumSquares(OpRegistry& ops);
void DefineClipScale(OpRegistry& ops);
void DefineLossScaleUpdate(OpRegistry& ops);
void DefineSgd(OpRegistry& ops);
void DefineAdamW(OpRegistry& ops);
void DefineLamb(OpRegistry& ops);  // lamb_update, lamb_apply
void DefineEinsum(OpRegistry& ops);
void DefineConv2d(OpRegistry& ops);  // conv2d and its two gradients
void DefineAttention(OpRegistry& ops);
void DefineAttentionBlock(OpRegistry& ops);  // for keys that come in parts
void DefineAttentionDelta(OpRegistry& ops);
void DefineAttentionSink(OpRegistry& ops);
void DefineHeadCrossEntropy(OpRegistry& ops);
void DefineHeadCrossEntropyWithGrad(OpRegistry& ops);
void DefineEmbedding(OpRegistry& ops);
void DefineRope(OpRegistry& ops);
void DefineNorm(OpRegistry& ops);  // rms_norm, layer_norm
void DefineToken(OpRegistry& ops);

}  // namespace weft
