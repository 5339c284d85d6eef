// Attention forward on CUDA without matrix units: a warp has a query row, a block eight of one
// head, which share tiles of 32 keys in shared memory; a lane has one key of the tile.
#include "kernels/attention_cuda.h"

#include <cmath>
#include <limits>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_tile_rows.h"

namespace weft {
namespace {

constexpr int kRows = kBlockThreads / kWarp;

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    ForwardKernel(AttentionOnCuda a, const T* q, const T* k, const T* v, T* o, WideOf<T>* lse) {
  using W = WideOf<T>;
  W* queries = DynamicShared<W>();
  W* sums = queries + kRows * a.d;
  W* keys = sums + kRows * a.dv;
  W* values = keys + kWarp * (a.d + 1);
  W* weights = values + kWarp * a.dv;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t tiles = (a.s + kRows - 1) / kRows;
  for (int64_t job = blockIdx.x; job < tiles * a.heads * a.batch; job += gridDim.x) {
    const int64_t head = job / tiles % a.heads, batch = job / tiles / a.heads;
    const int64_t first = job % tiles * kRows, row = first + warp;
    const int64_t kv = a.KeyHead(head);
    const T* from_k = k + (batch * a.t * a.kv_heads + kv) * a.d;
    const T* from_v = v + (batch * a.t * a.kv_heads + kv) * a.dv;
    __syncthreads();  // the last job's readers are done
    LoadRows(q + (batch * a.s * a.heads + head) * a.d, a.heads * a.d, first, a.s, kRows, a.d,
             queries, a.d);
    for (int64_t c = threadIdx.x; c < kRows * a.dv; c += blockDim.x) sums[c] = 0;
    const int64_t seen = row < a.s ? a.Seen(row) : 0;
    const int64_t most_seen = a.Seen(first + kRows <= a.s ? first + kRows - 1 : a.s - 1);
    W most = std::numeric_limits<W>::lowest(), sum = 0;
    for (int64_t key = 0; key < most_seen; key += kWarp) {
      __syncthreads();
      LoadRows(from_k, a.kv_heads * a.d, key, a.t, kWarp, a.d, keys, a.d + 1);
      LoadRows(from_v, a.kv_heads * a.dv, key, a.t, kWarp, a.dv, values, a.dv);
      __syncthreads();
      const bool visible = key + lane < seen;
      const W score = visible ? Dot(queries + warp * a.d, keys + lane * (a.d + 1), a.d) *
                                    static_cast<W>(a.scale)
                              : std::numeric_limits<W>::lowest();
      const W now = MaxOf()(most, WarpReduce(score, MaxOf()));
      const W weight = visible ? std::exp(score - now) : W(0);
      const W keep = std::exp(most - now);
      sum = sum * keep + WarpReduce(weight, SumOf());
      most = now;
      weights[threadIdx.x] = weight;
      __syncwarp();
      for (int64_t c = lane; c < a.dv; c += kWarp) {
        W total = sums[warp * a.dv + c] * keep;
        for (int j = 0; j < kWarp; ++j) total += weights[warp * kWarp + j] * values[j * a.dv + c];
        sums[warp * a.dv + c] = total;
      }
    }
    if (row >= a.s) continue;
    const int64_t at = (batch * a.s + row) * a.heads + head;
    // A row that sees no key has o = 0.
    for (int64_t c = lane; c < a.dv && o != nullptr; c += kWarp) {
      o[at * a.dv + c] = Narrow<T>(seen == 0 ? W(0) : sums[warp * a.dv + c] / sum);
    }
    if (lane == 0 && lse != nullptr) {
      lse[at] = seen == 0 ? -std::numeric_limits<W>::infinity() : most + std::log(sum);
    }
  }
}

}  // namespace

absl::StatusOr<AttentionOnCuda> AttentionOnCuda::Of(const KernelContext& c, int first) {
  const Operand &q = c.in(first), &k = c.in(first + 1), &v = c.in(first + 2);
  AttentionOnCuda a;
  a.batch = q.shape[0];
  a.s = q.shape[1];
  a.t = k.shape[1];
  a.heads = q.shape[2];
  a.kv_heads = k.shape[2];
  a.d = q.shape[3];
  a.dv = v.shape[3];
  a.group = q.logical->shape[2] / k.logical->shape[2];
  a.causal = c.attrs->Bool("causal");
  a.scale = AttentionScale(*c.attrs, a.d);
  WEFT_ASSIGN_OR_RETURN(a.queries, CudaIndexSet::Of(q.box->dims[1]));
  WEFT_ASSIGN_OR_RETURN(a.keys, CudaIndexSet::Of(k.box->dims[1]));
  WEFT_ASSIGN_OR_RETURN(a.query_heads, CudaIndexSet::Of(q.box->dims[2]));
  WEFT_ASSIGN_OR_RETURN(a.key_heads, CudaIndexSet::Of(k.box->dims[2]));
  for (int64_t head = 0; head < a.heads; ++head)
    WEFT_RETURN_IF_ERROR(weft::KeyHead(q, k, head).status());
  return a;
}

absl::Status AttentionByBlocks(const KernelContext& c, const AttentionOnCuda& a) {
  return DispatchCudaFloat(c.in(0).dtype(), [&](auto t) {
    using T = decltype(t);
    using W = WideOf<T>;
    const int64_t jobs = (a.s + kRows - 1) / kRows * a.heads * a.batch;
    const int64_t shared = kRows * (a.d + a.dv) + kWarp * (a.d + 1) + kWarp * a.dv + kBlockThreads;
    return Launch(c, &ForwardKernel<T>,
                  {GridFor(jobs, 1), kBlockThreads, shared * static_cast<int64_t>(sizeof(W))}, a,
                  c.in(0).as<T>(), c.in(1).as<T>(), c.in(2).as<T>(), c.out(0).as<T>(),
                  c.out(1).as<W>());
  });
}

}  // namespace weft
