// rms_norm and layer_norm on CUDA, forward: a team of threads has one row, held in registers where
// it is short enough.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_team.h"

namespace weft {

// Packs of a row that a thread holds: two warps then have a row of 2048 16-bit elements. Measured
// on an H200 (benchmarks/gpu/variants.cu).
inline constexpr int kNormPacks = 4;

// Statistics that nobody reads, and y, may be nullptr; bias is for layer norm alone.
template <bool kHeld, int N, bool kLayer, typename T, int kSlots = kNormPacks>
__global__ void __launch_bounds__(kBlockThreads, 4)
    NormKernel(const T* x, const T* __restrict__ weight, const T* __restrict__ bias, T* y,
               WideOf<T>* means, WideOf<T>* invs, int64_t rows, int64_t h, WideOf<T> eps,
               int team_size) {
  using W = WideOf<T>;
  const Team team(team_size);
  const int packs = static_cast<int>(h / N);
  const int64_t row = static_cast<int64_t>(blockIdx.x) * team.teams() + team.index;
  if (row >= rows) return;
  const TeamRow<kHeld, N, T, kSlots> from(team, x + row * h, packs);
  W mean = 0, sum = 0;
  if constexpr (kLayer) {
    ForEachPack<kHeld, kSlots>(team, packs, [&](int slot, int pack) {
      W v[N];
      from.Get(slot, pack, v);
#pragma unroll
      for (int j = 0; j < N; ++j) mean += v[j];
    });
    mean = team.Reduce(mean, SumOf()) / static_cast<W>(h);
  }
  ForEachPack<kHeld, kSlots>(team, packs, [&](int slot, int pack) {
    W v[N];
    from.Get(slot, pack, v);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += (v[j] - mean) * (v[j] - mean);
  });
  const W inv = W(1) / std::sqrt(team.Reduce(sum, SumOf()) / static_cast<W>(h) + eps);
  if (team.rank == 0) {
    if (means != nullptr) means[row] = mean;
    if (invs != nullptr) invs[row] = inv;
  }
  if (y == nullptr) return;
  ForEachPack<kHeld, kSlots>(team, packs, [&](int slot, int pack) {
    W v[N], w[N], b[N];
    from.Get(slot, pack, v);
    LoadPack<N>(weight + static_cast<int64_t>(pack) * N, w);
    if constexpr (kLayer) LoadPack<N>(bias + static_cast<int64_t>(pack) * N, b);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      v[j] = (v[j] - mean) * inv * w[j];
      if constexpr (kLayer) v[j] += b[j];
    }
    StorePack<N>(v, y + row * h + static_cast<int64_t>(pack) * N);
  });
}

}  // namespace weft
