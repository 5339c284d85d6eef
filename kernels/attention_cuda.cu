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

template <typename T, typename O>
struct ForwardPointers {
  const T *q, *k, *v;
  const WideOf<T>*o_before, *lse_before;  // both or neither
  O* o;
  WideOf<T>* lse;
};

template <typename T, typename O>
__global__ void __launch_bounds__(kBlockThreads)
    ForwardKernel(AttentionOnCuda a, ForwardPointers<T, O> x) {
  using W = WideOf<T>;
  const W none = -std::numeric_limits<W>::infinity();
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
    const T* from_k = x.k + (batch * a.t * a.kv_heads + kv) * a.d;
    const T* from_v = x.v + (batch * a.t * a.kv_heads + kv) * a.dv;
    __syncthreads();  // the last job's readers are done
    LoadRows(x.q + (batch * a.s * a.heads + head) * a.d, a.heads * a.d, first, a.s, kRows, a.d,
             queries, a.d);
    const int64_t at = (batch * a.s + row) * a.heads + head;
    // What came before is a sum of 1 times exp(lse), and o.
    const bool goes_on = row < a.s && x.lse_before != nullptr && x.lse_before[at] != none;
    W most = goes_on ? x.lse_before[at] : std::numeric_limits<W>::lowest();
    W sum = goes_on ? W(1) : W(0);
    for (int64_t c = lane; c < a.dv; c += kWarp) {
      sums[warp * a.dv + c] = goes_on ? x.o_before[at * a.dv + c] : W(0);
    }
    const KeyRun seen = a.Seen(batch, row), span = a.Span(batch, first, kRows);
    for (int64_t key = span.from; key < span.to; key += kWarp) {
      __syncthreads();
      LoadRows(from_k, a.kv_heads * a.d, key, a.t, kWarp, a.d, keys, a.d + 1);
      LoadRows(from_v, a.kv_heads * a.dv, key, a.t, kWarp, a.dv, values, a.dv);
      __syncthreads();
      const bool visible = key + lane >= seen.from && key + lane < seen.to;
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
    // A row that has seen no key has o = 0.
    for (int64_t c = lane; c < a.dv && x.o != nullptr; c += kWarp) {
      x.o[at * a.dv + c] = Narrow<O>(sum == 0 ? W(0) : sums[warp * a.dv + c] / sum);
    }
    if (lane == 0 && x.lse != nullptr) x.lse[at] = sum == 0 ? none : most + std::log(sum);
  }
}

template <typename T, typename O>
absl::Status Forward(const KernelContext& c, const AttentionOnCuda& a, const AttentionTensors& x) {
  using W = WideOf<T>;
  const int64_t jobs = (a.s + kRows - 1) / kRows * a.heads * a.batch;
  const int64_t shared = kRows * (a.d + a.dv) + kWarp * (a.d + 1) + kWarp * a.dv + kBlockThreads;
  const ForwardPointers<T, O> pointers{
      x.q.as<T>(), x.k.as<T>(),  x.v.as<T>(), DataOf<W>(x.o_before), DataOf<W>(x.lse_before),
      x.o.as<O>(), x.lse.as<W>()};
  return Launch(c, &ForwardKernel<T, O>,
                {GridFor(jobs, 1), kBlockThreads, shared * static_cast<int64_t>(sizeof(W))}, a,
                pointers);
}

}  // namespace

absl::StatusOr<AttentionOnCuda> AttentionOnCuda::Of(const KernelContext& c, int first,
                                                    int visible) {
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
  a.mask = MaskOf(*c.attrs);
  a.visible = DataOf<int32_t>(GivenInput(c, visible));
  a.scale = AttentionScale(*c.attrs, a.d);
  WEFT_ASSIGN_OR_RETURN(a.queries, CudaIndexSet::Of(q.box->dims[1]));
  WEFT_ASSIGN_OR_RETURN(a.keys, CudaIndexSet::Of(k.box->dims[1]));
  WEFT_ASSIGN_OR_RETURN(a.query_heads, CudaIndexSet::Of(q.box->dims[2]));
  WEFT_ASSIGN_OR_RETURN(a.key_heads, CudaIndexSet::Of(k.box->dims[2]));
  for (int64_t head = 0; head < a.heads; ++head)
    WEFT_RETURN_IF_ERROR(weft::KeyHead(q, k, head).status());
  return a;
}

absl::Status AttentionByBlocks(const KernelContext& c, const AttentionOnCuda& a,
                               const AttentionTensors& x) {
  return DispatchCudaFloat(x.q.dtype(), [&](auto t) {
    using T = decltype(t);
    return x.wide ? Forward<T, WideOf<T>>(c, a, x) : Forward<T, T>(c, a, x);
  });
}

}  // namespace weft
