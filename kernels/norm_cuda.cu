// rms_norm and layer_norm on CUDA, forward and backward. A block has a row at a time; backward each
// thread keeps the weights' gradients of its columns over all rows of its block, and a second
// kernel adds the blocks in order, so that equal inputs give equal bits.
#include <cmath>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/device_workspace.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Shared memory of a block up to which its sums lie there; longer rows keep them in the scratch.
constexpr int64_t kMostShared = 96 * 1024;

// Whole warps, as many as there are packs in a row.
int ThreadsFor(int64_t packs) {
  return static_cast<int>(
      std::clamp<int64_t>((packs + kWarp - 1) / kWarp * kWarp, kWarp, kBlockThreads));
}

// Statistics that nobody reads, and y, may be nullptr; bias is for layer norm alone.
template <int N, bool kLayer, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    NormKernel(const T* x, const T* weight, const T* bias, T* y, WideOf<T>* means, WideOf<T>* invs,
               int64_t rows, int64_t h, WideOf<T> eps) {
  using W = WideOf<T>;
  const int64_t first = static_cast<int64_t>(threadIdx.x) * N, step = blockDim.x * N;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* from = x + row * h;
    W mean = 0, sum = 0;
    if constexpr (kLayer) {
      for (int64_t i = first; i < h; i += step) {
        W v[N];
        LoadPack<N>(from + i, v);
#pragma unroll
        for (int j = 0; j < N; ++j) mean += v[j];
      }
      mean = BlockSum(mean) / static_cast<W>(h);
    }
    for (int64_t i = first; i < h; i += step) {
      W v[N];
      LoadPack<N>(from + i, v);
#pragma unroll
      for (int j = 0; j < N; ++j) sum += (v[j] - mean) * (v[j] - mean);
    }
    const W inv = W(1) / std::sqrt(BlockSum(sum) / static_cast<W>(h) + eps);
    if (threadIdx.x == 0) {
      if (means != nullptr) means[row] = mean;
      if (invs != nullptr) invs[row] = inv;
    }
    if (y == nullptr) continue;
    for (int64_t i = first; i < h; i += step) {
      W v[N], w[N], b[N];
      LoadPack<N>(from + i, v);
      LoadPack<N>(weight + i, w);
      if constexpr (kLayer) LoadPack<N>(bias + i, b);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        v[j] = (v[j] - mean) * inv * w[j];
        if constexpr (kLayer) v[j] += b[j];
      }
      StorePack<N>(v, y + row * h + i);
    }
  }
}

// With n = (x - mean) inv and g = dy w inv: dx = g - n mean(g n) [- mean(g)]; the block's sums of
// dy n (and dy) go to its row of `partial`. dx may be nullptr.
template <int N, bool kLayer, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    NormGradKernel(const T* dy, const T* x, const T* weight, const WideOf<T>* means,
                   const WideOf<T>* invs, T* dx, WideOf<T>* partial, int64_t rows, int64_t h,
                   bool in_shared) {
  using W = WideOf<T>;
  const int64_t first = static_cast<int64_t>(threadIdx.x) * N, step = blockDim.x * N;
  const int64_t width = kLayer ? 2 * h : h;
  W* mine = partial + blockIdx.x * width;
  W* sums = in_shared ? DynamicShared<W>() : mine;  // each thread touches its own columns only
  for (int64_t i = first; i < h; i += step) {
    for (int64_t j = i; j < i + N; ++j) {
      sums[j] = 0;
      if constexpr (kLayer) sums[h + j] = 0;
    }
  }
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const W mean = kLayer ? means[row] : W(0), inv = invs[row];
    W dot = 0, sum = 0;
    for (int64_t i = first; i < h; i += step) {
      W d[N], v[N], w[N];
      LoadPack<N>(dy + row * h + i, d);
      LoadPack<N>(x + row * h + i, v);
      LoadPack<N>(weight + i, w);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const W normed = (v[j] - mean) * inv, g = d[j] * w[j] * inv;
        dot += g * normed;
        if constexpr (kLayer) sum += g;
        sums[i + j] += d[j] * normed;
        if constexpr (kLayer) sums[h + i + j] += d[j];
      }
    }
    if (dx == nullptr) continue;
    const W projection = BlockSum(dot) / static_cast<W>(h);
    const W shift = kLayer ? BlockSum(sum) / static_cast<W>(h) : W(0);
    for (int64_t i = first; i < h; i += step) {
      W d[N], v[N], w[N];
      LoadPack<N>(dy + row * h + i, d);
      LoadPack<N>(x + row * h + i, v);
      LoadPack<N>(weight + i, w);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        d[j] = d[j] * w[j] * inv - (v[j] - mean) * inv * projection - shift;
      }
      StorePack<N>(d, dx + row * h + i);
    }
  }
  if (!in_shared) return;
  for (int64_t i = first; i < h; i += step) {
    for (int64_t j = i; j < i + N; ++j) {
      mine[j] = sums[j];
      if constexpr (kLayer) mine[h + j] = sums[h + j];
    }
  }
}

constexpr int kFoldRows = 8;

// to[i] (+)= sum over blocks of partial[block][i], for `h` columns of a row of `width`.
template <typename T>
__global__ void __launch_bounds__(kWarp* kFoldRows)
    FoldKernel(const WideOf<T>* partial, int64_t blocks, int64_t width, int64_t h, T* to,
               bool adds) {
  using W = WideOf<T>;
  __shared__ W sums[kFoldRows][kWarp];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x;
  W sum = 0;
  for (int64_t b = threadIdx.y; b < blocks && column < h; b += kFoldRows) {
    sum += partial[b * width + column];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= h) return;
  for (int i = 1; i < kFoldRows; ++i) sum += sums[i][threadIdx.x];
  to[column] = Narrow<T>(adds ? sum + Widen(to[column]) : sum);
}

template <bool kLayer, typename T>
absl::Status Norm(const KernelContext& c) {
  using W = WideOf<T>;
  const Operand& x = c.in(0);
  const int64_t h = x.shape.back(), rows = h == 0 ? 0 : x.elements() / h;
  const T* weight = c.in(1).as<T>();
  const T* bias = kLayer ? c.in(2).as<T>() : nullptr;
  T* y = c.out(0).as<T>();
  constexpr int N = kPackOf<T>;
  const bool packs = h % N == 0 && AlignedToPack(x.data, weight, bias, y);
  const auto kernel = packs ? &NormKernel<N, kLayer, T> : &NormKernel<1, kLayer, T>;
  return Launch(c, kernel, {GridFor(rows, 1), static_cast<unsigned>(ThreadsFor(packs ? h / N : h))},
                x.as<T>(), weight, bias, y, kLayer ? c.out(1).as<W>() : nullptr,
                c.out(kLayer ? 2 : 1).as<W>(), rows, h, static_cast<W>(c.attrs->Float("eps")));
}

template <bool kLayer, typename T>
absl::Status NormGrad(const KernelContext& c) {
  using W = WideOf<T>;
  const Operand& x = c.in(1);
  const int64_t h = x.shape.back(), rows = h == 0 ? 0 : x.elements() / h;
  const T* dy = c.in(0).as<T>();
  const T* weight = c.in(2).as<T>();
  T* dx = c.out(0).as<T>();
  constexpr int N = kPackOf<T>;
  const bool packs = h % N == 0 && AlignedToPack(dy, x.data, weight, dx);
  const int64_t blocks = std::min(rows, kNormBlocks), width = kLayer ? 2 * h : h;
  const int64_t bytes = width * static_cast<int64_t>(sizeof(W));
  const bool in_shared = bytes <= kMostShared;
  W* partial = static_cast<W*>(c.workspace);
  const auto kernel = packs ? &NormGradKernel<N, kLayer, T> : &NormGradKernel<1, kLayer, T>;
  WEFT_RETURN_IF_ERROR(
      Launch(c, kernel,
             {static_cast<unsigned>(blocks), static_cast<unsigned>(ThreadsFor(packs ? h / N : h)),
              in_shared ? bytes : 0},
             dy, x.as<T>(), weight, kLayer ? c.in(3).as<W>() : nullptr,
             c.in(kLayer ? 4 : 3).as<W>(), dx, partial, rows, h, in_shared));
  for (int output = 1; output <= (kLayer ? 2 : 1); ++output) {
    T* to = c.out(output).as<T>();
    if (to == nullptr) continue;
    WEFT_RETURN_IF_ERROR(Launch(
        c, &FoldKernel<T>, {static_cast<unsigned>((h + kWarp - 1) / kWarp), dim3(kWarp, kFoldRows)},
        partial + (output - 1) * h, blocks, width, h, to, c.adds(output)));
  }
  return absl::OkStatus();
}

template <bool kLayer>
absl::Status NormCuda(const KernelContext& c) {
  return DispatchCudaFloat(c.in(0).dtype(), [&](auto t) { return Norm<kLayer, decltype(t)>(c); });
}
template <bool kLayer>
absl::Status NormGradCuda(const KernelContext& c) {
  return DispatchCudaFloat(c.in(0).dtype(),
                           [&](auto t) { return NormGrad<kLayer, decltype(t)>(c); });
}

}  // namespace

void AddNormCuda(KernelTable& kernels) {
  kernels.Add("rms_norm", NormCuda<false>);
  kernels.Add("rms_norm_grad", NormGradCuda<false>);
  kernels.Add("layer_norm", NormCuda<true>);
  kernels.Add("layer_norm_grad", NormGradCuda<true>);
}

}  // namespace weft
