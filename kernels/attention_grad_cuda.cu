// Attention backward on CUDA without matrix units: one kernel for dq, in which a warp has a query
// row, and one for dk and dv, in which it has a key. No atomics: equal inputs give equal bits.
#include <cmath>
#include <limits>

#include "kernels/attention_cuda.h"
#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_tile_rows.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kRows = kBlockThreads / kWarp;

template <typename T, typename O>
struct GradOperands {
  const T *doo, *q, *k, *v;
  const WideOf<T>*lse, *delta;
  const WideOf<T>*dq_before, *dk_before, *dv_before;  // nullptr: nothing came before
  O *dq, *dk, *dv;
};

// A sum and what came before it at `at`, as the result has it.
template <typename O, typename W>
__device__ inline O AddedTo(const W* before, int64_t at, W sum) {
  return Narrow<O>(before == nullptr ? sum : before[at] + sum);
}

template <typename T, typename O>
__global__ void __launch_bounds__(kBlockThreads)
    QueryKernel(AttentionOnCuda a, GradOperands<T, O> p) {
  using W = WideOf<T>;
  W* queries = DynamicShared<W>();
  W* grads = queries + kRows * a.d;  // rows of do
  W* sums = grads + kRows * a.dv;
  W* keys = sums + kRows * a.d;
  W* values = keys + kWarp * (a.d + 1);
  W* weights = values + kWarp * (a.dv + 1);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t tiles = (a.s + kRows - 1) / kRows;
  for (int64_t job = blockIdx.x; job < tiles * a.heads * a.batch; job += gridDim.x) {
    const int64_t head = job / tiles % a.heads, batch = job / tiles / a.heads;
    const int64_t first = job % tiles * kRows, row = first + warp;
    const int64_t rows_at = batch * a.s * a.heads + head;
    const int64_t keys_at = batch * a.t * a.kv_heads + a.KeyHead(head);
    __syncthreads();
    LoadRows(p.q + rows_at * a.d, a.heads * a.d, first, a.s, kRows, a.d, queries, a.d);
    LoadRows(p.doo + rows_at * a.dv, a.heads * a.dv, first, a.s, kRows, a.dv, grads, a.dv);
    for (int64_t c = lane; c < a.d; c += kWarp) sums[warp * a.d + c] = 0;
    const bool inside = row < a.s;
    const int64_t at = rows_at + row * a.heads;
    const KeyRun seen = a.Seen(batch, row), span = a.Span(batch, first, kRows);
    const W lse = inside ? p.lse[at] : W(0), delta = inside ? p.delta[at] : W(0);
    const bool blind = lse == -std::numeric_limits<W>::infinity();
    for (int64_t key = span.from; key < span.to; key += kWarp) {
      __syncthreads();
      LoadRows(p.k + keys_at * a.d, a.kv_heads * a.d, key, a.t, kWarp, a.d, keys, a.d + 1);
      LoadRows(p.v + keys_at * a.dv, a.kv_heads * a.dv, key, a.t, kWarp, a.dv, values, a.dv + 1);
      __syncthreads();
      W weight = 0;
      if (!blind && key + lane >= seen.from && key + lane < seen.to) {
        const W score = Dot(queries + warp * a.d, keys + lane * (a.d + 1), a.d);
        const W dp = Dot(grads + warp * a.dv, values + lane * (a.dv + 1), a.dv);
        weight = std::exp(score * static_cast<W>(a.scale) - lse) * (dp - delta) *
                 static_cast<W>(a.scale);
      }
      weights[threadIdx.x] = weight;
      __syncwarp();
      for (int64_t c = lane; c < a.d; c += kWarp) {
        W total = sums[warp * a.d + c];
        for (int j = 0; j < kWarp; ++j) {
          total += weights[warp * kWarp + j] * keys[j * (a.d + 1) + c];
        }
        sums[warp * a.d + c] = total;
      }
    }
    __syncwarp();
    for (int64_t c = lane; c < a.d && inside; c += kWarp) {
      p.dq[at * a.d + c] = AddedTo<O>(p.dq_before, at * a.d + c, sums[warp * a.d + c]);
    }
  }
}

template <typename T, typename O>
__global__ void __launch_bounds__(kBlockThreads)
    KeyKernel(AttentionOnCuda a, GradOperands<T, O> p) {
  using W = WideOf<T>;
  W* keys = DynamicShared<W>();
  W* values = keys + kRows * a.d;
  W* key_sums = values + kRows * a.dv;
  W* value_sums = key_sums + kRows * a.d;
  W* queries = value_sums + kRows * a.dv;
  W* grads = queries + kWarp * (a.d + 1);
  W* weights = grads + kWarp * (a.dv + 1);  // of v, then of k
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t tiles = (a.t + kRows - 1) / kRows;
  for (int64_t job = blockIdx.x; job < tiles * a.kv_heads * a.batch; job += gridDim.x) {
    const int64_t kv = job / tiles % a.kv_heads, batch = job / tiles / a.kv_heads;
    const int64_t first = job % tiles * kRows, key = first + warp;
    const int64_t keys_at = batch * a.t * a.kv_heads + kv;
    __syncthreads();
    LoadRows(p.k + keys_at * a.d, a.kv_heads * a.d, first, a.t, kRows, a.d, keys, a.d);
    LoadRows(p.v + keys_at * a.dv, a.kv_heads * a.dv, first, a.t, kRows, a.dv, values, a.dv);
    for (int64_t c = threadIdx.x; c < kRows * (a.d + a.dv); c += blockDim.x) key_sums[c] = 0;
    // Key heads of which no query head is here have gradients too: zeros.
    for (int64_t head = 0; head < a.heads; ++head) {
      if (a.KeyHead(head) != kv) continue;
      const int64_t rows_at = batch * a.s * a.heads + head;
      for (int64_t query = 0; query < a.s; query += kWarp) {
        const int64_t row = query + lane, at = rows_at + row * a.heads;
        const KeyRun seen = a.Seen(batch, row);
        // Every warp has the same rows, so all of the block go on or none.
        if (!__any_sync(kAllLanes, seen.from < first + kRows && seen.to > first)) continue;
        __syncthreads();
        LoadRows(p.q + rows_at * a.d, a.heads * a.d, query, a.s, kWarp, a.d, queries, a.d + 1);
        LoadRows(p.doo + rows_at * a.dv, a.heads * a.dv, query, a.s, kWarp, a.dv, grads, a.dv + 1);
        __syncthreads();
        W weight = 0, ds = 0;
        if (key >= seen.from && key < seen.to && p.lse[at] != -std::numeric_limits<W>::infinity()) {
          const W score = Dot(keys + warp * a.d, queries + lane * (a.d + 1), a.d);
          const W dp = Dot(values + warp * a.dv, grads + lane * (a.dv + 1), a.dv);
          weight = std::exp(score * static_cast<W>(a.scale) - p.lse[at]);
          ds = weight * (dp - p.delta[at]) * static_cast<W>(a.scale);
        }
        weights[threadIdx.x] = weight;
        weights[kBlockThreads + threadIdx.x] = ds;
        __syncwarp();
        for (int64_t c = lane; c < a.d; c += kWarp) {
          W total = key_sums[warp * a.d + c];
          for (int j = 0; j < kWarp; ++j) {
            total += weights[kBlockThreads + warp * kWarp + j] * queries[j * (a.d + 1) + c];
          }
          key_sums[warp * a.d + c] = total;
        }
        for (int64_t c = lane; c < a.dv; c += kWarp) {
          W total = value_sums[warp * a.dv + c];
          for (int j = 0; j < kWarp; ++j) {
            total += weights[warp * kWarp + j] * grads[j * (a.dv + 1) + c];
          }
          value_sums[warp * a.dv + c] = total;
        }
      }
    }
    __syncthreads();
    if (key >= a.t) continue;
    const int64_t at = keys_at + key * a.kv_heads;
    for (int64_t c = lane; c < a.d && p.dk != nullptr; c += kWarp) {
      p.dk[at * a.d + c] = AddedTo<O>(p.dk_before, at * a.d + c, key_sums[warp * a.d + c]);
    }
    for (int64_t c = lane; c < a.dv && p.dv != nullptr; c += kWarp) {
      p.dv[at * a.dv + c] = AddedTo<O>(p.dv_before, at * a.dv + c, value_sums[warp * a.dv + c]);
    }
  }
}

template <typename T, typename O>
absl::Status Gradient(const KernelContext& c, const AttentionOnCuda& a,
                      const AttentionGradTensors& x) {
  using W = WideOf<T>;
  const GradOperands<T, O> p{x.doo.as<T>(),
                             x.q.as<T>(),
                             x.k.as<T>(),
                             x.v.as<T>(),
                             x.lse.as<W>(),
                             static_cast<const W*>(x.delta),
                             DataOf<W>(x.dq_before),
                             DataOf<W>(x.dk_before),
                             DataOf<W>(x.dv_before),
                             x.dq.as<O>(),
                             x.dk.as<O>(),
                             x.dv.as<O>()};
  constexpr auto kBytes = static_cast<int64_t>(sizeof(W));
  const int64_t tile = kWarp * (a.d + 1) + kWarp * (a.dv + 1);
  if (p.dq != nullptr) {
    const int64_t jobs = (a.s + kRows - 1) / kRows * a.heads * a.batch;
    WEFT_RETURN_IF_ERROR(Launch(c, &QueryKernel<T, O>,
                                {GridFor(jobs, 1), kBlockThreads,
                                 (kRows * (2 * a.d + a.dv) + tile + kBlockThreads) * kBytes},
                                a, p));
  }
  if (p.dk == nullptr && p.dv == nullptr) return absl::OkStatus();
  const int64_t jobs = (a.t + kRows - 1) / kRows * a.kv_heads * a.batch;
  return Launch(c, &KeyKernel<T, O>,
                {GridFor(jobs, 1), kBlockThreads,
                 (2 * kRows * (a.d + a.dv) + tile + 2 * kBlockThreads) * kBytes},
                a, p);
}

}  // namespace

absl::Status AttentionGradByBlocks(const KernelContext& c, const AttentionOnCuda& a,
                                   const AttentionGradTensors& x) {
  return DispatchCudaFloat(x.q.dtype(), [&](auto t) {
    using T = decltype(t);
    return x.wide ? Gradient<T, WideOf<T>>(c, a, x) : Gradient<T, T>(c, a, x);
  });
}

}  // namespace weft
