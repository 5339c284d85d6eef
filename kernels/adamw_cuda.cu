// adamw on CUDA: one pass over parameter, moments and gradient, by tiles, whose squares of the
// gradient are summed on the way if somebody reads the sum. Nothing here is read again before the
// next step, so all of it passes the caches by.
#include <algorithm>
#include <cstring>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_moments.h"
#include "kernels/cuda_squares.h"
#include "kernels/device_workspace.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Results that nobody reads are nullptr. `sums` has one element per tile.
template <typename P, typename G>
struct AdamWOperands {
  const P* in[3];  // parameter, m, v
  const G* grad;
  P* out[3];
  double* sums;
};

// N elements, in words of 16 bytes where N > 1; N of them are then a multiple of 16 bytes.
template <int N, typename T>
__device__ inline void LoadOnce(const T* from, WideOf<T> (&to)[N]) {
  if constexpr (N == 1) {
    to[0] = Widen(*from);
  } else {
    constexpr int kWords = N * static_cast<int>(sizeof(T)) / 16;
    uint4 words[kWords];
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = __ldcs(reinterpret_cast<const uint4*>(from) + i);
    T elements[N];
    memcpy(elements, words, sizeof(elements));
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = Widen(elements[i]);
  }
}

template <int N, typename T>
__device__ inline void StoreOnce(const T (&from)[N], T* to) {
  if constexpr (N == 1) {
    *to = from[0];
  } else {
    constexpr int kWords = N * static_cast<int>(sizeof(T)) / 16;
    uint4 words[kWords];
    memcpy(words, from, sizeof(words));
#pragma unroll
    for (int i = 0; i < kWords; ++i) __stcs(reinterpret_cast<uint4*>(to) + i, words[i]);
  }
}

// What a thread has loaded before it writes anything: results may share memory with operands.
template <int N, typename P, typename G>
struct Loaded {
  P in[3][N];
  WideOf<G> grad[N];

  __device__ void Load(const AdamWOperands<P, G>& p, int64_t at) {
#pragma unroll
    for (int k = 0; k < 3; ++k) LoadOnce<N>(p.in[k] + at, in[k]);
    LoadOnce<N>(p.grad + at, grad);
  }

  // The new parameter and moments in place of the old.
  __device__ void Step(const Moments::Scalars<P>& s) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const P x[3] = {in[0][i], in[1][i], in[2][i]};
      const P u = Moments::Direction(s, x, static_cast<P>(grad[i]), in[1][i], in[2][i]);
      in[0][i] = x[0] - s.lr * u;
    }
  }

  __device__ void Store(const AdamWOperands<P, G>& p, int64_t at) const {
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      if (p.out[k] != nullptr) StoreOnce<N>(in[k], p.out[k] + at);
    }
  }
};

// Packs that a thread has in flight: 32 bytes of each f32 tensor, whatever the gradient's type.
template <int N, typename P>
inline constexpr int kPacksAtOnce = N * sizeof(P) < 32 ? 2 : 1;

// Threads take packs of N of a tile in turn, in the order of sum_squares, then single elements.
template <int N, bool kSums, typename P, typename G>
__global__ void __launch_bounds__(kBlockThreads)
    AdamWKernel(AdamWOperands<P, G> p, int64_t n, int64_t tiles, Moments rule) {
  using Scalars = Moments::Scalars<P>;
  constexpr int kPacks = kPacksAtOnce<N, P>, kStride = kBlockThreads * N;
  __shared__ Scalars shared;
  if (threadIdx.x == 0) shared = rule.template Read<P>();
  __syncthreads();
  const Scalars s = shared;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t begin = tile * kSumTile;
    const int count = static_cast<int>(min(n - begin, kSumTile));
    double sum = 0;
    for (int i = threadIdx.x * N; i + N <= count; i += kPacks * kStride) {
      Loaded<N, P, G> x[kPacks];
#pragma unroll
      for (int k = 0; k < kPacks; ++k) {
        if (i + k * kStride + N <= count) x[k].Load(p, begin + i + k * kStride);
      }
#pragma unroll
      for (int k = 0; k < kPacks; ++k) {
        if (i + k * kStride + N > count) continue;
        if constexpr (kSums) sum += SquaresOf<RunOf<G>>(x[k].grad);
        x[k].Step(s);
        x[k].Store(p, begin + i + k * kStride);
      }
    }
    for (int i = count / N * N + threadIdx.x; i < count; i += kBlockThreads) {
      Loaded<1, P, G> x;
      x.Load(p, begin + i);
      if constexpr (kSums) sum += SquaresOf<double>(x.grad);
      x.Step(s);
      x.Store(p, begin + i);
    }
    if constexpr (kSums) {
      sum = BlockSum(sum);
      if (threadIdx.x == 0) p.sums[tile] = sum;
    }
  }
}

template <typename P, typename G>
absl::Status Run(const KernelContext& c) {
  const Moments rule{c.in(4).as<float>(),
                     c.in(5).as<float>(),
                     c.in(6).as<float>(),
                     c.attrs->Float("beta1"),
                     c.attrs->Float("beta2"),
                     c.attrs->Float("eps"),
                     c.attrs->Float("weight_decay"),
                     true};
  AdamWOperands<P, G> p;
  bool aligned = AlignedToPack(c.in(3).data);
  for (int k = 0; k < 3; ++k) {
    p.in[k] = c.in(k).as<P>();
    p.out[k] = c.out(k).as<P>();
    aligned = aligned && AlignedToPack(p.in[k], p.out[k]);
  }
  p.grad = c.in(3).as<G>();
  p.sums = static_cast<double*>(c.workspace);
  const int64_t n = c.in(0).elements(), tiles = (n + kSumTile - 1) / kSumTile;
  const auto launch = [&](auto kernel) {
    // A block for each tile, so that the last ones keep all multiprocessors busy.
    const auto grid = static_cast<unsigned>(std::min<int64_t>(tiles, 1 << 20));
    return Launch(c, kernel, {grid, kBlockThreads}, p, n, tiles, rule);
  };
  constexpr int N = kPackOf<G>;
  double* const grad_sq = c.out(3).as<double>();
  if (grad_sq == nullptr) {
    return launch(aligned ? &AdamWKernel<N, false, P, G> : &AdamWKernel<1, false, P, G>);
  }
  WEFT_RETURN_IF_ERROR(launch(aligned ? &AdamWKernel<N, true, P, G> : &AdamWKernel<1, true, P, G>));
  return AddTilesCuda(c, p.sums, tiles, grad_sq);
}

absl::Status AdamWCuda(const KernelContext& c) {
  if (c.in(0).dtype() == DType::kF64) return Run<double, double>(c);
  if (c.in(3).dtype() == DType::kBF16) return Run<float, __nv_bfloat16>(c);
  return Run<float, float>(c);
}

}  // namespace

void AddAdamWCuda(KernelTable& kernels) { kernels.Add("adamw", AdamWCuda); }

}  // namespace weft
