#include "kernels/device_workspace.h"

#include "kernels/attention_block_scratch.h"
#include "kernels/attention_geometry.h"
#include "kernels/einsum_plan.h"
#include "kernels/head_pieces.h"
#include "kernels/reduce_split.h"
#include "kernels/scratch.h"
#include "kernels/wide_row.h"

namespace weft {
namespace {

int64_t WideBytes(DType dtype) { return SizeOf(WideDType(dtype)); }

template <bool kGrad>
int64_t HeadBytes(const CostContext& c) {
  const HeadPieces pieces(c.inputs[0].shape, c.inputs[1].shape);
  Scratch scratch(nullptr);
  if (c.inputs[0].dtype == DType::kF64) {
    HeadScratch<double>(scratch, pieces, kGrad, false);
  } else {
    HeadScratch<float>(scratch, pieces, kGrad, c.inputs[0].dtype != DType::kF32);
  }
  return scratch.used();
}

}  // namespace

int64_t SumSquaresCudaWorkspace(const CostContext& c) {
  return (c.inputs[0].elements() + kSumTile - 1) / kSumTile * static_cast<int64_t>(sizeof(double));
}

int64_t AdamWCudaWorkspace(const CostContext& c) { return SumSquaresCudaWorkspace(c); }

int64_t NormGradCudaWorkspace(const CostContext& c) {
  const TensorSpec& x = c.inputs[1];
  const int64_t h = x.shape.back(), rows = h == 0 ? 0 : x.elements() / h;
  const int64_t sums = static_cast<int64_t>(c.outputs.size()) - 1;  // of dweight, and of dbias
  return std::min(rows, kNormBlocks) * h * sums * WideBytes(x.dtype);
}

int64_t ReduceCudaWorkspace(const CostContext& c) {
  const ReduceSplit split(c.inputs[0].shape, c.attrs);
  if (split.parts == 1) return 0;
  return split.results * split.parts * static_cast<int64_t>(sizeof(double));
}

int64_t EmbeddingGradCudaWorkspace(const CostContext& c) {
  const int64_t rows = c.outputs[0].shape[0], tokens = c.inputs[0].elements();
  Scratch scratch(nullptr);
  for (int64_t n : {rows + 1, rows, tokens, tokens}) scratch.Take<int>(n);
  return scratch.used();
}

int64_t EinsumCudaWorkspace(const CostContext& c) {
  const absl::StatusOr<EinsumEquation> e = ParseEinsum(c.attrs.String("equation"));
  const EinsumPlan plan = PlanEinsum(*e, c.inputs[0].shape, c.inputs[1].shape);
  const int64_t in = SizeOf(c.inputs[0].dtype), out = SizeOf(c.outputs[0].dtype);
  Scratch scratch(nullptr);
  if (plan.a.used) scratch.Take<char>(plan.a.elements * in);
  if (plan.b.used) scratch.Take<char>(plan.b.elements * in);
  if (plan.c.used) scratch.Take<char>(plan.c.elements * out);
  double flops = 2;
  for (int64_t extent : {plan.m.extent, plan.n.extent, plan.k.extent}) {
    flops *= static_cast<double>(extent);
  }
  for (const EinsumDim& dim : plan.batch) flops *= static_cast<double>(dim.extent);
  return scratch.used() + MatmulWorkspaceFor(flops);
}

int64_t HeadCudaWorkspace(const CostContext& c) { return HeadBytes<false>(c); }

int64_t HeadGradCudaWorkspace(const CostContext& c) { return HeadBytes<true>(c); }

int64_t HeadWithGradCudaWorkspace(const CostContext& c) {
  const DType dtype = c.inputs[0].dtype;
  const HeadGroups groups(c.inputs[0].shape, c.inputs[1].shape, SizeOf(dtype));
  Scratch scratch(nullptr);
  switch (dtype) {
    case DType::kF64: HeadGroupScratch<double, double>(scratch, groups); break;
    case DType::kF32: HeadGroupScratch<float, float>(scratch, groups); break;
    default: HeadGroupScratch<float, BFloat16>(scratch, groups);
  }
  return scratch.used();
}

int64_t AttentionCudaWorkspace(const CostContext& c) {
  const AttentionSize size(c.inputs[0].shape, c.inputs[1].shape, c.inputs[2].shape);
  return size.batch * size.s * size.heads * WideBytes(c.inputs[0].dtype);
}

int64_t AttentionGradCudaWorkspace(const CostContext& c) {
  const AttentionSize size(c.inputs[1].shape, c.inputs[2].shape, c.inputs[3].shape);
  return size.batch * size.s * size.heads * WideBytes(c.inputs[1].dtype);
}

int64_t AttentionBlockCudaWorkspace(const CostContext& c) {
  const AttentionSize size(c.inputs[0].shape, c.inputs[1].shape, c.inputs[2].shape);
  Scratch scratch(nullptr);
  AttentionBlockScratch(scratch, size, c.inputs[0].dtype);
  return scratch.used();
}

int64_t AttentionBlockGradCudaWorkspace(const CostContext& c) {
  const AttentionSize size(c.inputs[1].shape, c.inputs[2].shape, c.inputs[3].shape);
  Scratch scratch(nullptr);
  AttentionBlockGradScratch(scratch, size, c.inputs[1].dtype);
  return scratch.used();
}

int64_t AttentionSinkGradCudaWorkspace(const CostContext& c) {
  return c.inputs[3].elements() * WideBytes(c.inputs[0].dtype);
}

int64_t NoCudaWorkspace(const CostContext&) { return 0; }

}  // namespace weft
