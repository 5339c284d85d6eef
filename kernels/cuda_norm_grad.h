// rms_norm and layer_norm on CUDA, backward, for rows that the stream of cuda_norm_grad_stream.h
// does not take: unaligned or very long ones. A team of threads has a row at a time; each thread
// keeps the weights' gradients of its columns over all rows of its team.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_team.h"

namespace weft {

// The sums of dy n (and of dy) of a thread's columns over all rows of its team: in registers where
// the row is held, else in memory of the block, whose only team it then is.
template <bool kHeld, int N, bool kLayer, typename W>
class ColumnSums {
 public:
  __device__ ColumnSums(const Team& team, int packs, int64_t h, W* memory)
      : team_(team), packs_(packs), h_(h), memory_(memory) {
    if constexpr (!kHeld) {
      ForEachPack<false>(team_, packs_, [&](int, int pack) {
        for (int64_t i = static_cast<int64_t>(pack) * N; i < (pack + int64_t{1}) * N; ++i) {
          memory_[i] = 0;
          if constexpr (kLayer) memory_[h_ + i] = 0;
        }
      });
    }
  }
  __device__ void Add(int slot, int pack, int j, W normed, W d) {
    if constexpr (kHeld) {
      weight_[slot][j] += d * normed;
      if constexpr (kLayer) bias_[slot][j] += d;
    } else {
      memory_[static_cast<int64_t>(pack) * N + j] += d * normed;
      if constexpr (kLayer) memory_[h_ + static_cast<int64_t>(pack) * N + j] += d;
    }
  }
  // Adds up the teams of the block, in order; the block's sums go to its row of the partials.
  // `memory` is shared by the block, or that row itself.
  __device__ void Store(W* to) {
    if constexpr (kHeld) {
      for (int index = 0; index < team_.teams(); ++index) {
        if (team_.index == index) {
          ForEachPack<true>(team_, packs_, [&](int slot, int pack) {
#pragma unroll
            for (int j = 0; j < N; ++j) {
              const int i = pack * N + j;
              memory_[i] = index == 0 ? weight_[slot][j] : memory_[i] + weight_[slot][j];
              if constexpr (kLayer) {
                W& sum = memory_[h_ + i];
                sum = index == 0 ? bias_[slot][j] : sum + bias_[slot][j];
              }
            }
          });
        }
        __syncthreads();
      }
    } else {
      __syncthreads();
    }
    if (memory_ == to) return;
    const int64_t width = kLayer ? 2 * h_ : h_;
    for (int64_t i = threadIdx.x; i < width; i += kBlockThreads) to[i] = memory_[i];
  }

 private:
  static constexpr int kSlots = kHeld ? kHeldPacks : 1;
  const Team& team_;
  int packs_;
  int64_t h_;
  W* memory_;
  W weight_[kSlots][N] = {};
  W bias_[kLayer ? kSlots : 1][N] = {};
};

// With n = (x - mean) inv and g = dy w inv: dx = g - n mean(g n) [- mean(g)] [+ addend]; the
// block's sums of dy n (and dy) go to its row of `partial`. dx and addend may be nullptr.
template <bool kHeld, int N, bool kLayer, typename T>
__global__ void __launch_bounds__(kBlockThreads, 2)
    NormGradKernel(const T* dy, const T* x, const T* weight, const WideOf<T>* means,
                   const WideOf<T>* invs, const T* addend, T* dx, WideOf<T>* partial, int64_t rows,
                   int64_t h, bool in_shared, int team_size) {
  using W = WideOf<T>;
  const Team team(team_size);
  const int packs = static_cast<int>(h / N);
  W* mine = partial + blockIdx.x * (kLayer ? 2 * h : h);
  ColumnSums<kHeld, N, kLayer, W> sums(team, packs, h, in_shared ? DynamicShared<W>() : mine);
  const TeamRow<kHeld, N, T> weights(team, weight, packs);
  const int64_t step = static_cast<int64_t>(gridDim.x) * team.teams();
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * team.teams(); first < rows;
       first += step) {
    const bool live = first + team.index < rows;
    const int64_t row = live ? first + team.index : rows - 1;
    const TeamRow<kHeld, N, T> from_dy(team, dy + row * h, packs), from_x(team, x + row * h, packs);
    const W mean = kLayer ? means[row] : W(0), inv = invs[row];
    const auto get = [&](int slot, int pack, W(&d)[N], W(&v)[N], W(&w)[N]) {
      from_dy.Get(slot, pack, d);
      from_x.Get(slot, pack, v);
      weights.Get(slot, pack, w);
    };
    W dot = 0, sum = 0;
    if (live) {
      ForEachPack<kHeld>(team, packs, [&](int slot, int pack) {
        W d[N], v[N], w[N];
        get(slot, pack, d, v, w);
#pragma unroll
        for (int j = 0; j < N; ++j) {
          const W normed = (v[j] - mean) * inv, g = d[j] * w[j] * inv;
          dot += g * normed;
          if constexpr (kLayer) sum += g;
          sums.Add(slot, pack, j, normed, d[j]);
        }
      });
    }
    if (dx == nullptr) continue;
    const W projection = team.Reduce(dot, SumOf()) / static_cast<W>(h);
    const W shift = kLayer ? team.Reduce(sum, SumOf()) / static_cast<W>(h) : W(0);
    if (!live) continue;
    ForEachPack<kHeld>(team, packs, [&](int slot, int pack) {
      W d[N], v[N], w[N];
      get(slot, pack, d, v, w);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        d[j] = d[j] * w[j] * inv - (v[j] - mean) * inv * projection - shift;
      }
      if (addend != nullptr) {
        W a[N];
        LoadPack<N>(addend + row * h + static_cast<int64_t>(pack) * N, a);
#pragma unroll
        for (int j = 0; j < N; ++j) d[j] += a[j];
      }
      StorePack<N>(d, dx + row * h + static_cast<int64_t>(pack) * N);
    });
  }
  sums.Store(mine);
}

}  // namespace weft
