#include "kernels/all_ops.h"

#include "kernels/op_list.h"

namespace weft {
namespace {

struct Family {
  void (*define)(OpRegistry&);
  const char* kind;  // OpKinds
};
constexpr Family kFamilies[] = {
    {DefineUnary, "pointwise"},
    {DefineBinary, "pointwise"},
    {DefineCast, "pointwise"},
    {DefineGelu, "pointwise"},
    {DefineSiluGate, "pointwise"},
    {DefineReduce, "reduction"},
    {DefineReshape, "movement"},
    {DefineTranspose, "movement"},
    {DefineSlice, "movement"},
    {DefineConcat, "movement"},
    {DefineBroadcastTo, "movement"},
    {DefineSoftmax, "reduction"},
    {DefineRandom, "random"},
    {DefineDropout, "pointwise"},
    {DefineAccumulate, "pointwise"},
    {DefineAddN, "pointwise"},
    {DefineSumSquares, "optimizer"},
    {DefineClipScale, "optimizer"},
    {DefineLossScaleUpdate, "optimizer"},
    {DefineSgd, "optimizer"},
    {DefineAdamW, "optimizer"},
    {DefineLamb, "optimizer"},
    {DefineEinsum, "contraction"},
    {DefineConv2d, "contraction"},
    {DefineAttention, "attention"},
    {DefineAttentionBlock, "attention"},
    {DefineAttentionDelta, "attention"},
    {DefineAttentionSink, "attention"},
    {DefineHeadCrossEntropy, "head"},
    {DefineHeadCrossEntropyWithGrad, "head"},
    {DefineEmbedding, "embedding"},
    {DefineRope, "pointwise"},
    {DefineToken, "movement"},
    {DefineNorm, "norm"},
};

}  // namespace

void DefineAllOps(OpRegistry& ops) {
  for (const Family& family : kFamilies) family.define(ops);
}

std::map<std::string, std::string> OpKinds() {
  std::map<std::string, std::string> kinds;
  for (const Family& family : kFamilies) {
    OpRegistry ops;
    family.define(ops);
    for (const OpDef* op : ops.All()) kinds[op->name] = family.kind;
  }
  return kinds;
}

void FillCpuKernels(const OpRegistry& ops, KernelTable& kernels) {
  for (const OpDef* op : ops.All()) {
    if (op->cpu != nullptr) kernels.Add(op->name, op->cpu);
  }
}

}  // namespace weft
