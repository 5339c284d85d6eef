// rope on CUDA. A block has one position of the sequence: it makes the angles once, and turns that
// row of every batch entry and head. What it turns first is under way meanwhile.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda_element.h"
#include "kernels/cuda_index_set.h"
#include "kernels/cuda_launch.h"

namespace weft {

struct RopeSize {
  int64_t batch, rows, heads, half;
};

// Heads of which a thread loads its packs before it turns the first.
inline constexpr int kRopeAhead = 2;

// Cosine and sine of position * 2^exponent. The angle is made in f64, since f32 would lose all of
// it at large positions; for f32, sincospi gets what is left of it beyond whole turns.
template <typename W>
__device__ inline void RopeAngle(double position, double exponent, W& cosine, W& sine) {
  const double angle = position * exp2(exponent);
  if constexpr (std::is_same_v<W, float>) {
    const double turns = angle * 0.15915494309189535;  // 1 / (2 pi)
    sincospif(static_cast<float>(2 * (turns - rint(turns))), &sine, &cosine);
  } else {
    sincos(angle, &sine, &cosine);
  }
}

// N values of shared memory, 16 bytes at a time where they are that many.
template <int N, typename W>
__device__ inline void LoadShared(const W* from, W (&to)[N]) {
  constexpr int kAtOnce = N % kPackOf<W> == 0 ? kPackOf<W> : 1;
#pragma unroll
  for (int j = 0; j < N; j += kAtOnce) {
    const auto some = *reinterpret_cast<const Pack<W, kAtOnce>*>(from + j);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) to[j + k] = some.at[k];
  }
}

// N pairs: (i, i + half) of a pack each, or neighbours in two packs if interleaved.
template <int N, bool kInterleaved, typename T>
__device__ inline void TurnPairs(const WordsOf<T, N> (&words)[2], const WideOf<T> (&cosines)[N],
                                 const WideOf<T> (&sines)[N], T* first, T* second) {
  using W = WideOf<T>;
  const Pack<T, N> in[2] = {PackOfWords<T, N>(words[0]), PackOfWords<T, N>(words[1])};
  W out[2][N];
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const int a = kInterleaved ? 2 * j : j, b = kInterleaved ? 2 * j + 1 : N + j;
    const W x = Widen(in[a / N].at[a % N]), y = Widen(in[b / N].at[b % N]);
    out[a / N][a % N] = x * cosines[j] - y * sines[j];
    out[b / N][b % N] = x * sines[j] + y * cosines[j];
  }
  StorePack<N>(out[0], first);
  StorePack<N>(out[1], second);
}

// A block's threads are [packs of a head][heads]. The frequency of pair i is 2^(i exponent).
template <int N, bool kInterleaved, typename T, int kAhead = kRopeAhead>
__global__ void __launch_bounds__(kBlockThreads)
    RopeKernel(const T* x, T* y, RopeSize size, CudaIndexSet positions, double exponent,
               bool inverse) {
  using W = WideOf<T>;
  W* const cosines = DynamicShared<W>();
  W* const sines = cosines + size.half;
  const int64_t row = blockIdx.x;
  const auto heads = static_cast<unsigned>(size.heads);
  const unsigned packs = static_cast<unsigned>(size.half) / N;
  const unsigned all = static_cast<unsigned>(size.batch) * heads;
  const int64_t apart = kInterleaved ? N : size.half;  // the two packs of N pairs
  WordsOf<T, N> in[kAhead][2];
  int64_t at[kAhead];
  const auto load = [&](unsigned pack, unsigned first) {
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const unsigned head = first + a * blockDim.y, batch = head / heads;
      if (head >= all) continue;
      at[a] = ((batch * size.rows + row) * heads + (head - batch * heads)) * 2 * size.half +
              static_cast<int64_t>(kInterleaved ? 2 : 1) * pack * N;
      in[a][0] = ReadWords<N>(x + at[a]);
      in[a][1] = ReadWords<N>(x + at[a] + apart);
    }
  };
  load(threadIdx.x, threadIdx.y);
  const auto position = static_cast<double>(positions.ToLogical(row));
  for (unsigned i = threadIdx.y * blockDim.x + threadIdx.x; i < size.half;
       i += blockDim.x * blockDim.y) {
    W sine;
    RopeAngle(position, i * exponent, cosines[i], sine);
    sines[i] = inverse ? -sine : sine;
  }
  __syncthreads();
  bool loaded = true;
  for (unsigned pack = threadIdx.x; pack < packs; pack += blockDim.x) {
    W c[N], s[N];
    LoadShared<N>(cosines + pack * N, c);
    LoadShared<N>(sines + pack * N, s);
    for (unsigned first = threadIdx.y; first < all; first += kAhead * blockDim.y) {
      if (!loaded) load(pack, first);
      loaded = false;
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        if (first + a * blockDim.y >= all) continue;
        TurnPairs<N, kInterleaved, T>(in[a], c, s, y + at[a], y + at[a] + apart);
      }
    }
  }
}

// Threads of a block for heads of so many packs, and so many of them a position.
inline dim3 RopeBlock(int64_t packs, int64_t heads, int64_t ahead = kRopeAhead) {
  const auto x = std::min<int64_t>(packs, kBlockThreads);
  const auto y = std::min<int64_t>((heads + ahead - 1) / ahead, kBlockThreads / x);
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y));
}

}  // namespace weft
