// rms_norm and layer_norm on CUDA, backward, for rows of whole packs that a team holds. Each thread
// copies its packs of the rows ahead into shared memory, which needs no registers while they are
// under way and no barrier, since nobody else reads them.
#pragma once

#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_team.h"

namespace weft {

// Rows of dy, x and perhaps an addend in shared memory: kStages a team, of which all but the one
// at hand are under way.
template <int N, typename T, int kSlots = kHeldPacks, int kStages = 2>
class NormGradStream {
 public:
  // Shared memory of a block; also enough for the sums of all its teams.
  static int64_t Bytes(bool adds) {
    const int64_t sums = 2 * int64_t{kBlockThreads} * kSlots * N * sizeof(WideOf<T>);
    const int64_t packs = int64_t{kStages} * (adds ? 3 : 2) * kSlots * kBlockThreads;
    return std::max<int64_t>(packs * sizeof(Pack<T, N>), sums);
  }

  __device__ NormGradStream(const Team& team, int packs, bool adds)
      : team_(team), packs_(packs), operands_(adds ? 3 : 2) {}

  // Begins to copy the row at `at` of the operands; nothing if it is negative.
  __device__ void Read(int stage, const T* dy, const T* x, const T* addend, int64_t at) const {
    if (at >= 0) {
      ForEachPack<true, kSlots>(team_, packs_, [&](int slot, int pack) {
        const int64_t i = at + static_cast<int64_t>(pack) * N;
        __pipeline_memcpy_async(Place(stage, 0, slot), dy + i, sizeof(Pack<T, N>));
        __pipeline_memcpy_async(Place(stage, 1, slot), x + i, sizeof(Pack<T, N>));
        if (operands_ == 3) {
          __pipeline_memcpy_async(Place(stage, 2, slot), addend + i, sizeof(Pack<T, N>));
        }
      });
    }
    __pipeline_commit();
  }
  // Waits for the oldest of kStages rows.
  __device__ static void Wait() { __pipeline_wait_prior(kStages - 1); }

  __device__ void Get(int stage, int operand, int slot, WideOf<T> (&to)[N]) const {
    const Pack<T, N> pack = *Place(stage, operand, slot);
#pragma unroll
    for (int j = 0; j < N; ++j) to[j] = Widen(pack.at[j]);
  }

 private:
  // Neighbouring threads' packs are neighbours.
  __device__ Pack<T, N>* Place(int stage, int operand, int slot) const {
    return DynamicShared<Pack<T, N>>() +
           ((stage * operands_ + operand) * kSlots + slot) * kBlockThreads + threadIdx.x;
  }

  const Team& team_;
  int packs_;
  int operands_;
};

// Adds the sums that the threads of a block hold for their columns, team by team in order, into
// `to` of `width` sums; those of kind k start at k h. Uses the dynamic shared memory anew.
template <int N, int kKinds, int kSlots, typename W>
__device__ inline void StoreColumnSums(const Team& team, int packs, int64_t h,
                                       const W (&sums)[kKinds][kSlots][N], W* to) {
  const int width = static_cast<int>(kKinds * h);
  W* const memory = DynamicShared<W>();
  __syncthreads();
#pragma unroll
  for (int kind = 0; kind < kKinds; ++kind) {
    ForEachPack<true, kSlots>(team, packs, [&](int slot, int pack) {
      constexpr int kAtOnce = kPackOf<W>;
#pragma unroll
      for (int j = 0; j < N; j += kAtOnce) {
        W some[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) some[i] = sums[kind][slot][j + i];
        StorePack<kAtOnce>(some, memory + team.index * width + kind * h + pack * N + j);
      }
    });
  }
  __syncthreads();
  for (int i = threadIdx.x; i < width; i += kBlockThreads) {
    W sum = memory[i];
    for (int index = 1; index < team.teams(); ++index) sum += memory[index * width + i];
    to[i] = sum;
  }
}

// What NormGradKernel computes.
template <bool kLayer, typename T, int kSlots = kHeldPacks, int kStages = 2, int kAtOnce = 2>
__global__ void __launch_bounds__(kBlockThreads, kAtOnce)
    NormGradStreamKernel(const T* dy, const T* x, const T* weight, const WideOf<T>* means,
                         const WideOf<T>* invs, const T* addend, T* dx, WideOf<T>* partial,
                         int64_t rows, int64_t h, int team_size) {
  using W = WideOf<T>;
  constexpr int N = kPackOf<T>, kKinds = kLayer ? 2 : 1;
  const Team team(team_size);
  const int packs = static_cast<int>(h / N);
  const int64_t step = static_cast<int64_t>(gridDim.x) * team.teams();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * team.teams() + team.index;
  const NormGradStream<N, T, kSlots, kStages> stream(team, packs, addend != nullptr);
  W mean_ahead[kStages] = {}, inv_ahead[kStages] = {};  // of the rows under way, oldest first
  const auto read = [&](int stage, int64_t row) {
    stream.Read(stage, dy, x, addend, row < rows ? row * h : -1);
    if (row >= rows) return;
    if constexpr (kLayer) mean_ahead[kStages - 1] = means[row];
    inv_ahead[kStages - 1] = invs[row];
  };
  const auto advance = [&] {
#pragma unroll
    for (int s = 0; s + 1 < kStages; ++s) {
      mean_ahead[s] = mean_ahead[s + 1];
      inv_ahead[s] = inv_ahead[s + 1];
    }
  };
#pragma unroll
  for (int s = 0; s + 1 < kStages; ++s) {
    advance();
    read(s, first + s * step);
  }
  const TeamRow<true, N, T, kSlots> weights(team, weight, packs);
  W sums[kKinds][kSlots][N] = {};
  int stage = 0;
  for (int64_t row = first; row < rows; row += step) {
    advance();
    read(stage == 0 ? kStages - 1 : stage - 1, row + (kStages - 1) * step);
    stream.Wait();
    const W mean = mean_ahead[0], inv = inv_ahead[0];
    W dot = 0, sum = 0;
    ForEachPack<true, kSlots>(team, packs, [&](int slot, int) {
      W d[N], v[N], w[N];
      stream.Get(stage, 0, slot, d);
      stream.Get(stage, 1, slot, v);
      weights.Get(slot, 0, w);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const W part = (kLayer ? v[j] - mean : v[j]) * inv * d[j];
        sums[0][slot][j] += part;
        dot += part * w[j];
        if constexpr (kLayer) {
          sums[1][slot][j] += d[j];
          sum += d[j] * w[j];
        }
      }
    });
    if (dx != nullptr) {
      const W projection = team.Reduce(dot, SumOf()) / static_cast<W>(h) * inv * inv;
      const W shift = kLayer ? team.Reduce(sum, SumOf()) / static_cast<W>(h) * inv : W(0);
      ForEachPack<true, kSlots>(team, packs, [&](int slot, int pack) {
        W d[N], v[N], w[N], a[N] = {};
        stream.Get(stage, 0, slot, d);
        stream.Get(stage, 1, slot, v);
        weights.Get(slot, 0, w);
        if (addend != nullptr) stream.Get(stage, 2, slot, a);
#pragma unroll
        for (int j = 0; j < N; ++j) {
          const W centred = kLayer ? v[j] - mean : v[j];
          d[j] = d[j] * w[j] * inv - centred * projection - shift + a[j];
        }
        StorePack<N>(d, dx + row * h + static_cast<int64_t>(pack) * N);
      });
    }
    stage = stage + 1 == kStages ? 0 : stage + 1;
  }
  StoreColumnSums<N, kKinds, kSlots>(team, packs, h, sums, partial + blockIdx.x * kKinds * h);
}

}  // namespace weft
