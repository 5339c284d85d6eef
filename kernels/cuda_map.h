// Element-wise kernels: one function of a few wide values, applied over dense operands or over
// operands that broadcast. 16 bytes a thread and operand where alignment allows. A result may lie
// in an operand's memory; one that nobody reads is nullptr.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/cuda_element.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_strided.h"
#include "kernels/strided.h"
#include "runtime/status.h"

namespace weft {

template <typename T, int kIn, int kOut>
struct MapOperands {
  const T* in[kIn];
  T* out[kOut];
};

// f(const W (&in)[kIn], W (&out)[kOut]) for the N elements at `at` of dense operands.
template <int N, typename T, int kIn, int kOut, typename F>
__device__ inline void MapPack(const MapOperands<T, kIn, kOut>& p, int64_t at,
                               const Pack<T, N> (&in)[kIn], const F& f) {
  WideOf<T> out[kOut][N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    WideOf<T> x[kIn], y[kOut];
#pragma unroll
    for (int k = 0; k < kIn; ++k) x[k] = Widen(in[k].at[i]);
    f(x, y);
#pragma unroll
    for (int k = 0; k < kOut; ++k) out[k][i] = y[k];
  }
#pragma unroll
  for (int k = 0; k < kOut; ++k) {
    if (p.out[k] != nullptr) StorePack<N>(out[k], p.out[k] + at);
  }
}

// Packs of each operand that a thread loads before it computes; measured on an H200 for two and
// three operands (benchmarks/gpu/variants.cu).
template <int kIn>
inline constexpr int kMapAhead = kIn == 1 ? 4 : 1;

// A block has kAhead packs a thread that lie together, so that the blocks that run at a time sweep
// memory from its beginning to its end. The last block also takes the elements behind the last
// pack.
template <int kAhead, int N, typename T, int kIn, int kOut, typename F>
__global__ void __launch_bounds__(kBlockThreads)
    MapKernel(MapOperands<T, kIn, kOut> p, int64_t n, F f) {
  const int64_t packs = n / N;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kAhead * kBlockThreads + threadIdx.x;
  Pack<T, N> in[kAhead][kIn];
#pragma unroll
  for (int a = 0; a < kAhead; ++a) {
    const int64_t i = first + a * kBlockThreads;
    if (i >= packs) continue;
#pragma unroll
    for (int k = 0; k < kIn; ++k) in[a][k] = ReadPack<N>(p.in[k] + i * N);
  }
#pragma unroll
  for (int a = 0; a < kAhead; ++a) {
    const int64_t i = first + a * kBlockThreads;
    if (i < packs) MapPack<N>(p, i * N, in[a], f);
  }
  const int64_t rest = packs * N + threadIdx.x;
  if (N > 1 && blockIdx.x + 1 == gridDim.x && rest < n) {
    Pack<T, 1> one[kIn];
#pragma unroll
    for (int k = 0; k < kIn; ++k) one[k] = ReadPack<1>(p.in[k] + rest);
    MapPack<1>(p, rest, one, f);
  }
}

// Applies f over n elements of dense operands. F is a struct with a __device__ call operator,
// copied to the device.
template <typename T, int kIn, int kOut, typename F>
absl::Status MapDense(const KernelContext& c, const MapOperands<T, kIn, kOut>& p, int64_t n, F f) {
  bool aligned = true;
  for (const T* x : p.in) aligned = aligned && AlignedToPack(x);
  for (T* y : p.out) aligned = aligned && AlignedToPack(y);
  constexpr int kAhead = kMapAhead<kIn>, N = kPackOf<T>;
  const LaunchShape shape{GridForAll(n, (aligned ? N : 1) * kAhead * kBlockThreads), kBlockThreads};
  if (aligned) return Launch(c, &MapKernel<kAhead, N, T, kIn, kOut, F>, shape, p, n, f);
  return Launch(c, &MapKernel<kAhead, 1, T, kIn, kOut, F>, shape, p, n, f);
}

template <int N, typename T>
__device__ inline void LoadStrided(const T* from, int64_t stride, WideOf<T> (&to)[N]) {
  if (stride == 1) {
    LoadPack<N>(from, to);
    return;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = Widen(from[i * stride]);
}

// y = f(a, b) over a space whose innermost extent is a multiple of N; operand 2 is the dense
// result.
template <int N, typename T, typename F>
__global__ void __launch_bounds__(kBlockThreads)
    BroadcastKernel(const T* a, const T* b, T* y, CudaSpace<3> packs, int64_t inner_a,
                    int64_t inner_b, F f) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < packs.elements;
       i += step) {
    int64_t at[3];
    packs.Offsets(i, at);
    WideOf<T> x[2][N], out[N];
    LoadStrided<N>(a + at[0], inner_a, x[0]);
    LoadStrided<N>(b + at[1], inner_b, x[1]);
#pragma unroll
    for (int j = 0; j < N; ++j) out[j] = f(x[0][j], x[1][j]);
    StorePack<N>(out, y + at[2]);
  }
}

// y = f(a, b) with numpy's broadcasting; y is dense.
template <typename T, typename F>
absl::Status MapBroadcast(const KernelContext& c, F f) {
  const T* a = c.in(0).as<T>();
  const T* b = c.in(1).as<T>();
  T* y = c.out(0).as<T>();
  const Shape& shape = c.out(0).shape;
  WEFT_ASSIGN_OR_RETURN(
      CudaSpace<3> space,
      MakeCudaSpace<3>(shape, {BroadcastStrides(c.in(0), c.out(0)),
                               BroadcastStrides(c.in(1), c.out(0)), DenseStrides(shape)}));
  if (space.elements == 0) return absl::OkStatus();
  const int last = space.rank - 1;
  const int64_t inner_a = last < 0 ? 0 : space.strides[0][last];
  const int64_t inner_b = last < 0 ? 0 : space.strides[1][last];
  constexpr int N = kPackOf<T>;
  bool packs = last >= 0 && space.extents[last] % N == 0 && AlignedToPack(a, b, y);
  // A pack starts at a multiple of N in the result; its operands must start aligned too.
  for (int k = 0; packs && k < 2; ++k) {
    if (space.strides[k][last] != 1) continue;
    for (int d = 0; d < last; ++d) packs = packs && space.strides[k][d] % N == 0;
  }
  if (!packs) {
    return Launch(c, &BroadcastKernel<1, T, F>, {GridFor(space.elements), kBlockThreads}, a, b, y,
                  space, inner_a, inner_b, f);
  }
  space.elements /= N;
  space.extents[last] /= N;
  for (int k = 0; k < 3; ++k) space.strides[k][last] *= N;
  return Launch(c, &BroadcastKernel<N, T, F>, {GridFor(space.elements), kBlockThreads}, a, b, y,
                space, inner_a, inner_b, f);
}

}  // namespace weft
