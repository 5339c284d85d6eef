// attention and attention_grad on CUDA: cuDNN where it has a plan, else the own kernels.
#include "kernels/attention_cuda.h"
#include "kernels/cuda_attention_plans.h"
#include "kernels/cuda_handles.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/dispatch.h"
#include "runtime/status.h"

namespace weft {
namespace {

// to[b][j][i] = from[b][i][j]: lse is [batch,s,heads] in weft and [batch,heads,s] in cuDNN.
__global__ void __launch_bounds__(kBlockThreads)
    SwapKernel(const float* from, float* to, int64_t batch, int64_t rows, int64_t columns) {
  const int64_t total = batch * rows * columns, step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
       i += step) {
    const int64_t j = i / rows % columns, b = i / rows / columns;
    to[i] = from[(b * rows + i % rows) * columns + j];
  }
}

absl::Status Swap(const KernelContext& c, const float* from, float* to, int64_t batch, int64_t rows,
                  int64_t columns) {
  return Launch(c, &SwapKernel, {GridFor(batch * rows * columns), kBlockThreads}, from, to, batch,
                rows, columns);
}

// Whether cuDNN's mask says what the boxes say, and its grouping of heads is that of the local
// ones.
bool Fits(const KernelContext& c, const AttentionOnCuda& a, int first, AttentionShape& shape) {
  const DType dtype = c.in(first).dtype();
  if (!IsHalf(dtype) || a.t == 0 || a.s == 0 || a.batch == 0) return false;
  if (a.heads == 0 || a.kv_heads == 0 || a.heads % a.kv_heads != 0) return false;
  for (int64_t head = 0; head < a.heads; ++head) {
    const int64_t kv = a.key_heads.ToLocal(a.query_heads.ToLogical(head) / a.group);
    if (kv != head / (a.heads / a.kv_heads)) return false;
  }
  shape = {dtype, a.batch, a.s,      a.t,        a.heads, a.kv_heads,
           a.d,   a.dv,    a.causal, first == 1, false,   static_cast<float>(a.scale)};
  if (!a.causal) return true;
  if (a.queries.begin[0] >= a.keys.ToLogical(a.t - 1)) {  // every key is in every query's past
    shape.causal = false;
    return true;
  }
  // One piece each from one position on, or the same pieces: local index stands for logical index.
  if (a.queries.count == 1 && a.keys.count == 1) return a.queries.begin[0] == a.keys.begin[0];
  bool same = a.s == a.t && a.queries.count == a.keys.count;
  for (int i = 0; i < a.queries.count && same; ++i) {
    same = a.queries.begin[i] == a.keys.begin[i] && a.queries.local[i] == a.keys.local[i];
  }
  return same;
}

absl::Status AttentionCuda(const KernelContext& c) {
  WEFT_ASSIGN_OR_RETURN(const AttentionOnCuda a, AttentionOnCuda::Of(c, 0));
  WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(c));
  AttentionShape shape;
  if (handles->attention() != nullptr && c.out(0).data != nullptr && Fits(c, a, 0, shape)) {
    auto* lse = static_cast<float*>(c.workspace);
    WEFT_ASSIGN_OR_RETURN(
        const bool ran,
        handles->attention()->Run(*handles, shape,
                                  {c.in(0).data, c.in(1).data, c.in(2).data, c.out(0).data, lse},
                                  StreamOf(c)));
    if (ran && c.out(1).data == nullptr) return absl::OkStatus();
    if (ran) return Swap(c, lse, c.out(1).as<float>(), a.batch, a.heads, a.s);
  }
  return AttentionByBlocks(c, a);
}

absl::Status AttentionGradCuda(const KernelContext& c) {
  WEFT_ASSIGN_OR_RETURN(const AttentionOnCuda a, AttentionOnCuda::Of(c, 1));
  WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(c));
  const bool has_dlse = c.inputs.size() > 6 && c.in(6).data != nullptr;
  bool all = !has_dlse;
  for (const Operand& out : c.outputs) all = all && out.data != nullptr;
  AttentionShape shape;
  if (all && handles->attention() != nullptr && Fits(c, a, 1, shape)) {
    shape.deterministic = handles->deterministic();
    auto* lse = static_cast<float*>(c.workspace);
    WEFT_RETURN_IF_ERROR(Swap(c, c.in(5).as<float>(), lse, a.batch, a.s, a.heads));
    WEFT_ASSIGN_OR_RETURN(
        const bool ran,
        handles->attention()->Run(*handles, shape,
                                  {c.in(1).data, c.in(2).data, c.in(3).data, c.in(4).data, lse,
                                   c.in(0).data, c.out(0).data, c.out(1).data, c.out(2).data},
                                  StreamOf(c)));
    if (ran) return absl::OkStatus();
  }
  return AttentionGradByBlocks(c, a);
}

}  // namespace

void AddAttentionCuda(KernelTable& kernels) {
  kernels.Add("attention", AttentionCuda);
  kernels.Add("attention_grad", AttentionGradCuda);
}

}  // namespace weft
