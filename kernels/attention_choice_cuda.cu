// attention and attention_grad on CUDA: cuDNN where it has a plan, else the own kernels.
#include "kernels/attention_choice_cuda.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cuda_handles.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/dispatch.h"
#include "runtime/status.h"

namespace weft {
namespace {

// to[b][j][i] = from[b][i][j].
__global__ void __launch_bounds__(kBlockThreads)
    SwapKernel(const float* from, float* to, int64_t batch, int64_t rows, int64_t columns) {
  const int64_t total = batch * rows * columns, step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
       i += step) {
    const int64_t j = i / rows % columns, b = i / rows / columns;
    to[i] = from[(b * rows + i % rows) * columns + j];
  }
}

// `from` has `stride` rows of `heads` a batch entry, of which rows [first, first + rows) go.
__global__ void __launch_bounds__(kBlockThreads)
    ToCudnnKernel(const float* from, float* to, int64_t batch, int64_t heads, int64_t stride,
                  int64_t first, int64_t rows) {
  const int64_t total = batch * heads * rows, step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
       i += step) {
    const int64_t row = i % rows, head = i / rows % heads, b = i / rows / heads;
    const float lse = from[(b * stride + first + row) * heads + head];
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    to[i] = lse == -kInfinity ? kInfinity : lse;
  }
}

bool TakesHeads(const AttentionOnCuda& a) {
  if (a.heads == 0 || a.kv_heads == 0 || a.heads % a.kv_heads != 0) return false;
  for (int64_t head = 0; head < a.heads; ++head) {
    const int64_t kv = a.key_heads.ToLocal(a.query_heads.ToLogical(head) / a.group);
    if (kv != head / (a.heads / a.kv_heads)) return false;
  }
  return true;
}

bool SamePieces(const CudaIndexSet& a, const CudaIndexSet& b) {
  bool same = a.count == b.count && a.size() == b.size();
  for (int i = 0; i < a.count && same; ++i) {
    same = a.begin[i] == b.begin[i] && a.local[i] == b.local[i];
  }
  return same;
}

absl::Status AttentionCuda(const KernelContext& c) {
  WEFT_ASSIGN_OR_RETURN(const AttentionOnCuda a, AttentionOnCuda::Of(c, 0, 3));
  WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(c));
  const std::optional<CudnnPart> part = CudnnPartOf(a, c.in(0));
  if (handles->attention() != nullptr && c.out(0).data != nullptr && part && part->IsWhole(a)) {
    auto* lse = static_cast<float*>(c.workspace);
    WEFT_ASSIGN_OR_RETURN(
        const bool ran,
        handles->attention()->Run(*handles, ShapeOfPart(a, *part, c.in(0).dtype()),
                                  {c.in(0).data, c.in(1).data, c.in(2).data, c.out(0).data, lse},
                                  StreamOf(c)));
    if (ran && c.out(1).data == nullptr) return absl::OkStatus();
    if (ran) return LseFromCudnn(c, a, lse, c.out(1).as<float>());
  }
  return AttentionByBlocks(
      c, a, {c.in(0), c.in(1), c.in(2), nullptr, nullptr, c.out(0), c.out(1), false});
}

absl::Status AttentionGradCuda(const KernelContext& c) {
  WEFT_ASSIGN_OR_RETURN(const AttentionOnCuda a, AttentionOnCuda::Of(c, 1, 7));
  WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(c));
  const Operand* dlse = GivenInput(c, 6);
  bool all = dlse == nullptr;
  for (const Operand& out : c.outputs) all = all && out.data != nullptr;
  const std::optional<CudnnPart> part = CudnnPartOf(a, c.in(1));
  if (all && handles->attention() != nullptr && part && part->IsWhole(a)) {
    AttentionShape shape = ShapeOfPart(a, *part, c.in(1).dtype());
    shape.backward = true;
    shape.deterministic = handles->deterministic();
    auto* lse = static_cast<float*>(c.workspace);
    WEFT_RETURN_IF_ERROR(LseToCudnn(c, a, *part, c.in(5).as<float>(), lse));
    WEFT_ASSIGN_OR_RETURN(
        const bool ran,
        handles->attention()->Run(*handles, shape,
                                  {c.in(1).data, c.in(2).data, c.in(3).data, c.in(4).data, lse,
                                   c.in(0).data, c.out(0).data, c.out(1).data, c.out(2).data},
                                  StreamOf(c)));
    if (ran) return absl::OkStatus();
  }
  WEFT_RETURN_IF_ERROR(AttentionDeltas(c, c.in(0), c.in(4), dlse, c.workspace));
  return AttentionGradByBlocks(c, a,
                               {c.in(0), c.in(1), c.in(2), c.in(3), c.in(5), c.workspace, nullptr,
                                nullptr, nullptr, c.out(0), c.out(1), c.out(2), false});
}

}  // namespace

std::optional<CudnnPart> CudnnPartOf(const AttentionOnCuda& a, const Operand& q) {
  if (!IsHalf(q.dtype()) || a.visible != nullptr || !TakesHeads(a)) return std::nullopt;
  if (a.t == 0 || a.s == 0 || a.batch == 0) return std::nullopt;
  const int64_t first_key = a.keys.begin[0], last_key = a.keys.ToLogical(a.t - 1);
  const int64_t first_query = a.queries.begin[0], last_query = a.queries.ToLogical(a.s - 1);
  // A window masks nothing that reaches from the last query to the first key, and the other way.
  const int64_t farthest =
      std::max(last_query - first_key, a.mask.causal ? int64_t{0} : last_key - first_query);
  const bool windowed = farthest >= a.mask.window;
  const CudnnPart whole{0, a.s, a.t, false, 0};
  if (!a.mask.causal) return windowed ? std::nullopt : std::optional(whole);
  // One piece each from one position on, or the same pieces: local index stands for logical index.
  const bool aligned = a.queries.count == 1 && a.keys.count == 1 && first_query == first_key;
  const bool banded = aligned && a.s == a.t;
  if (windowed && !banded) return std::nullopt;
  if (first_query < last_key && (aligned || SamePieces(a.queries, a.keys))) {
    return CudnnPart{0, a.s, a.t, true, windowed ? a.mask.window : 0};
  }
  if (windowed) return std::nullopt;
  // Later rows see no fewer keys: what the first that sees any and the last see, all between do.
  const int64_t row = a.queries.CountUpTo(first_key - 1);
  if (row == a.s) return CudnnPart{row, 0, 0, false, 0};
  const int64_t keys = a.keys.CountUpTo(a.queries.ToLogical(row));
  if (keys != a.keys.CountUpTo(last_query)) return std::nullopt;
  return CudnnPart{row, a.s - row, keys, false, 0};
}

AttentionShape ShapeOfPart(const AttentionOnCuda& a, const CudnnPart& part, DType dtype) {
  AttentionShape shape = {};
  shape.dtype = dtype;
  shape.batch = a.batch;
  shape.s = part.rows;
  shape.t = part.keys;
  shape.heads = a.heads;
  shape.kv_heads = a.kv_heads;
  shape.d = a.d;
  shape.dv = a.dv;
  shape.s_stride = a.s;
  shape.t_stride = a.t;
  shape.window = part.window;
  shape.causal = part.causal;
  shape.scale = static_cast<float>(a.scale);
  return shape;
}

absl::Status LseFromCudnn(const KernelContext& c, const AttentionOnCuda& a, const float* from,
                          float* to) {
  return Launch(c, &SwapKernel, {GridFor(a.batch * a.heads * a.s), kBlockThreads}, from, to,
                a.batch, a.heads, a.s);
}

absl::Status LseToCudnn(const KernelContext& c, const AttentionOnCuda& a, const CudnnPart& part,
                        const float* from, float* to) {
  return Launch(c, &ToCudnnKernel, {GridFor(a.batch * a.heads * part.rows), kBlockThreads}, from,
                to, a.batch, a.heads, a.s, part.row, part.rows);
}

void AddAttentionCuda(KernelTable& kernels) {
  kernels.Add("attention", AttentionCuda);
  kernels.Add("attention_grad", AttentionGradCuda);
}

}  // namespace weft
