#include "kernels/all_ops.h"

#include "kernels/op_list.h"

namespace weft {

void DefineAllOps(OpRegistry& ops) {
  DefineUnary(ops);
  DefineBinary(ops);
  DefineCast(ops);
  DefineGelu(ops);
  DefineSiluGate(ops);
  DefineReduce(ops);
  DefineReshape(ops);
  DefineTranspose(ops);
  DefineSlice(ops);
  DefineConcat(ops);
  DefineBroadcastTo(ops);
  DefineSoftmax(ops);
  DefineRandom(ops);
  DefineDropout(ops);
  DefineAccumulate(ops);
  DefineAddN(ops);
  DefineSumSquares(ops);
  DefineClipScale(ops);
  DefineSgd(ops);
  DefineAdamW(ops);
  DefineLamb(ops);
  DefineEinsum(ops);
  DefineConv2d(ops);
  DefineAttention(ops);
  DefineHeadCrossEntropy(ops);
  DefineEmbedding(ops);
  DefineRope(ops);
  DefineNorm(ops);
}

void FillCpuKernels(const OpRegistry& ops, KernelTable& kernels) {
  for (const OpDef* op : ops.All()) {
    if (op->cpu != nullptr) kernels.Add(op->name, op->cpu);
  }
}

}  // namespace weft
