// rms_norm and layer_norm on CUDA, forward and backward. A team of threads has a row at a time;
// backward each thread keeps the weights' gradients of its columns over all rows of its team, and a
// second kernel adds the blocks in order, so that equal inputs give equal bits.
#include <cmath>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_fold.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_team.h"
#include "kernels/device_workspace.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Shared memory of a block up to which its sums lie there; longer rows keep them in the scratch.
constexpr int64_t kMostShared = 96 * 1024;

// Statistics that nobody reads, and y, may be nullptr; bias is for layer norm alone.
template <bool kHeld, int N, bool kLayer, typename T>
__global__ void __launch_bounds__(kBlockThreads, 3)
    NormKernel(const T* x, const T* weight, const T* bias, T* y, WideOf<T>* means, WideOf<T>* invs,
               int64_t rows, int64_t h, WideOf<T> eps, int team_size) {
  using W = WideOf<T>;
  const Team team(team_size);
  const int packs = static_cast<int>(h / N);
  const TeamRow<kHeld, N, T> weights(team, weight, packs);
  const TeamRow<kHeld && kLayer, N, T> biases(team, bias, packs);
  const int64_t step = static_cast<int64_t>(gridDim.x) * team.teams();
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * team.teams(); first < rows;
       first += step) {
    const bool live = first + team.index < rows;  // else a row is read again for nothing
    const int64_t row = live ? first + team.index : rows - 1;
    const TeamRow<kHeld, N, T> from(team, x + row * h, packs);
    W mean = 0, sum = 0;
    if constexpr (kLayer) {
      ForEachPack<kHeld>(team, packs, [&](int slot, int pack) {
        W v[N];
        from.Get(slot, pack, v);
#pragma unroll
        for (int j = 0; j < N; ++j) mean += v[j];
      });
      mean = team.Reduce(mean, SumOf()) / static_cast<W>(h);
    }
    ForEachPack<kHeld>(team, packs, [&](int slot, int pack) {
      W v[N];
      from.Get(slot, pack, v);
#pragma unroll
      for (int j = 0; j < N; ++j) sum += (v[j] - mean) * (v[j] - mean);
    });
    const W inv = W(1) / std::sqrt(team.Reduce(sum, SumOf()) / static_cast<W>(h) + eps);
    if (!live) continue;
    if (team.rank == 0) {
      if (means != nullptr) means[row] = mean;
      if (invs != nullptr) invs[row] = inv;
    }
    if (y == nullptr) continue;
    ForEachPack<kHeld>(team, packs, [&](int slot, int pack) {
      W v[N], w[N], b[N];
      from.Get(slot, pack, v);
      weights.Get(slot, pack, w);
      if constexpr (kLayer) biases.Get(slot, pack, b);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        v[j] = (v[j] - mean) * inv * w[j];
        if constexpr (kLayer) v[j] += b[j];
      }
      StorePack<N>(v, y + row * h + static_cast<int64_t>(pack) * N);
    });
  }
}

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
    W dot = 0, sum = 0;
    if (live) {
      ForEachPack<kHeld>(team, packs, [&](int slot, int pack) {
        W d[N], v[N], w[N];
        from_dy.Get(slot, pack, d);
        from_x.Get(slot, pack, v);
        weights.Get(slot, pack, w);
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
      from_dy.Get(slot, pack, d);
      from_x.Get(slot, pack, v);
      weights.Get(slot, pack, w);
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

// to[i] (+)= the sum over blocks.
template <typename T>
struct StoreGrad {
  T* to;
  bool adds;
  __device__ void operator()(int64_t i, WideOf<T> sum) const {
    to[i] = Narrow<T>(adds ? sum + Widen(to[i]) : sum);
  }
};

template <bool kLayer, typename T>
absl::Status Norm(const KernelContext& c) {
  using W = WideOf<T>;
  const Operand& x = c.in(0);
  const int64_t h = x.shape.back(), rows = h == 0 ? 0 : x.elements() / h;
  const T* weight = c.in(1).as<T>();
  const T* bias = kLayer ? c.in(2).as<T>() : nullptr;
  T* y = c.out(0).as<T>();
  constexpr int N = kPackOf<T>;
  const bool aligned = h % N == 0 && AlignedToPack(x.data, weight, bias, y);
  const int64_t packs = aligned ? h / N : h;
  const int team = TeamSizeFor(packs);
  const bool held = TeamHolds(packs);
  const auto kernel =
      aligned ? (held ? &NormKernel<true, N, kLayer, T> : &NormKernel<false, N, kLayer, T>)
              : (held ? &NormKernel<true, 1, kLayer, T> : &NormKernel<false, 1, kLayer, T>);
  return Launch(c, kernel, {TeamGridFor(rows, team), kBlockThreads}, x.as<T>(), weight, bias, y,
                kLayer ? c.out(1).as<W>() : nullptr, c.out(kLayer ? 2 : 1).as<W>(), rows, h,
                static_cast<W>(c.attrs->Float("eps")), team);
}

template <bool kLayer, typename T>
absl::Status NormGrad(const KernelContext& c) {
  using W = WideOf<T>;
  const Operand& x = c.in(1);
  const int64_t h = x.shape.back(), rows = h == 0 ? 0 : x.elements() / h;
  const T* dy = c.in(0).as<T>();
  const T* weight = c.in(2).as<T>();
  constexpr int kAddend = kLayer ? 5 : 4;
  const T* addend = c.inputs.size() > kAddend ? c.in(kAddend).as<T>() : nullptr;
  T* dx = c.out(0).as<T>();
  constexpr int N = kPackOf<T>;
  const bool aligned = h % N == 0 && AlignedToPack(dy, x.data, weight, addend, dx);
  const int64_t packs = aligned ? h / N : h;
  const int team = TeamSizeFor(packs);
  const int64_t blocks = std::min<int64_t>(TeamGridFor(rows, team), kNormBlocks);
  const int64_t width = kLayer ? 2 * h : h, bytes = width * static_cast<int64_t>(sizeof(W));
  const bool held = TeamHolds(packs), in_shared = held || bytes <= kMostShared;
  W* partial = static_cast<W*>(c.workspace);
  const auto kernel =
      aligned ? (held ? &NormGradKernel<true, N, kLayer, T> : &NormGradKernel<false, N, kLayer, T>)
              : (held ? &NormGradKernel<true, 1, kLayer, T> : &NormGradKernel<false, 1, kLayer, T>);
  WEFT_RETURN_IF_ERROR(
      Launch(c, kernel, {static_cast<unsigned>(blocks), kBlockThreads, in_shared ? bytes : 0}, dy,
             x.as<T>(), weight, kLayer ? c.in(3).as<W>() : nullptr, c.in(kLayer ? 4 : 3).as<W>(),
             addend, dx, partial, rows, h, in_shared, team));
  for (int output = 1; output <= (kLayer ? 2 : 1); ++output) {
    T* to = c.out(output).as<T>();
    if (to == nullptr) continue;
    WEFT_RETURN_IF_ERROR(FoldParts(c, partial + (output - 1) * h, blocks, width, h, W(0), SumOf(),
                                   StoreGrad<T>{to, c.adds(output)}));
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
