// softmax and its gradient on CUDA. Along the innermost dimension a team of threads has a row;
// along another a thread has one, and neighbours read neighbouring columns.
#include <cmath>
#include <limits>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_team.h"

namespace weft {
namespace {

// The local tensor seen as [outer, n, inner] around the axis.
struct AxisView {
  int64_t outer = 1, n = 1, inner = 1;
  AxisView(const Operand& x, int64_t axis) {
    const int64_t rank = static_cast<int64_t>(x.shape.size());
    if (axis < 0) axis += rank;
    for (int64_t d = 0; d < axis; ++d) outer *= x.shape[d];
    n = x.shape[axis];
    for (int64_t d = axis + 1; d < rank; ++d) inner *= x.shape[d];
  }
  int64_t rows() const { return outer * inner; }
};

// Rows along the innermost dimension. A row of -inf gives zeros.
template <bool kHeld, int N, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    SoftmaxRowsKernel(const T* x, T* y, int64_t rows, int64_t n, int team_size) {
  using W = WideOf<T>;
  const W least = -std::numeric_limits<W>::infinity();
  const Team team(team_size);
  const int packs = static_cast<int>(n / N);
  const int64_t step = static_cast<int64_t>(gridDim.x) * team.teams();
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * team.teams(); first < rows;
       first += step) {
    const bool live = first + team.index < rows;  // else a row is read again for nothing
    const int64_t row = live ? first + team.index : rows - 1;
    const TeamRow<kHeld, N, T> from(team, x + row * n, packs);
    W max = least;
    ForEachPack<kHeld>(team, packs, [&](int slot, int pack) {
      W v[N];
      from.Get(slot, pack, v);
#pragma unroll
      for (int j = 0; j < N; ++j) max = MaxOf()(max, v[j]);
    });
    max = team.Reduce(max, MaxOf());
    const W from_max = max == least ? W(0) : max;  // exp(-inf) is 0, exp(-inf + inf) is not
    W held[kHeld ? kHeldPacks : 1][N];             // exponentials, once each where there is room
    double sum = 0;
    ForEachPack<kHeld>(team, packs, [&](int slot, int pack) {
      from.Get(slot, pack, held[slot]);
      W part = 0;
#pragma unroll
      for (int j = 0; j < N; ++j) {
        held[slot][j] = std::exp(held[slot][j] - from_max);
        part += held[slot][j];
      }
      sum += part;
    });
    sum = team.Reduce(sum, SumOf());
    if (!live) continue;
    const W scale = max == least ? W(0) : static_cast<W>(1 / sum);
    ForEachPack<kHeld>(team, packs, [&](int slot, int pack) {
      W v[N];
      if constexpr (!kHeld) from.Get(slot, pack, v);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        v[j] = (kHeld ? held[slot][j] : std::exp(v[j] - from_max)) * scale;
      }
      StorePack<N>(v, y + row * n + static_cast<int64_t>(pack) * N);
    });
  }
}

template <bool kHeld, int N, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    SoftmaxGradRowsKernel(const T* y, const T* dy, T* dx, int64_t rows, int64_t n, int team_size) {
  using W = WideOf<T>;
  const Team team(team_size);
  const int packs = static_cast<int>(n / N);
  const int64_t step = static_cast<int64_t>(gridDim.x) * team.teams();
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * team.teams(); first < rows;
       first += step) {
    const bool live = first + team.index < rows;
    const int64_t row = live ? first + team.index : rows - 1;
    const TeamRow<kHeld, N, T> from_y(team, y + row * n, packs), from_dy(team, dy + row * n, packs);
    double dot = 0;
    ForEachPack<kHeld>(team, packs, [&](int slot, int pack) {
      W v[N], d[N], part = 0;
      from_y.Get(slot, pack, v);
      from_dy.Get(slot, pack, d);
#pragma unroll
      for (int j = 0; j < N; ++j) part += v[j] * d[j];
      dot += part;
    });
    const W shift = static_cast<W>(team.Reduce(dot, SumOf()));
    if (!live) continue;
    ForEachPack<kHeld>(team, packs, [&](int slot, int pack) {
      W v[N], d[N];
      from_y.Get(slot, pack, v);
      from_dy.Get(slot, pack, d);
#pragma unroll
      for (int j = 0; j < N; ++j) d[j] = v[j] * (d[j] - shift);
      StorePack<N>(d, dx + row * n + static_cast<int64_t>(pack) * N);
    });
  }
}

// Rows along another dimension: element i of the thread's row is at i * inner.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    SoftmaxColumnsKernel(const T* x, T* y, int64_t rows, int64_t n, int64_t inner) {
  using W = WideOf<T>;
  const W least = -std::numeric_limits<W>::infinity();
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; row < rows;
       row += step) {
    const int64_t at = row / inner * n * inner + row % inner;
    W max = least;
    for (int64_t i = 0; i < n; ++i) max = MaxOf()(max, Widen(x[at + i * inner]));
    const W from_max = max == least ? W(0) : max;
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += std::exp(Widen(x[at + i * inner]) - from_max);
    const W scale = max == least ? W(0) : static_cast<W>(1 / sum);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t to = at + i * inner;
      y[to] = Narrow<T>(std::exp(Widen(x[to]) - from_max) * scale);
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    SoftmaxGradColumnsKernel(const T* y, const T* dy, T* dx, int64_t rows, int64_t n,
                             int64_t inner) {
  using W = WideOf<T>;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; row < rows;
       row += step) {
    const int64_t at = row / inner * n * inner + row % inner;
    double dot = 0;
    for (int64_t i = 0; i < n; ++i) dot += Widen(y[at + i * inner]) * Widen(dy[at + i * inner]);
    const W shift = static_cast<W>(dot);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t to = at + i * inner;
      dx[to] = Narrow<T>(Widen(y[to]) * (Widen(dy[to]) - shift));
    }
  }
}

absl::Status SoftmaxCuda(const KernelContext& c) {
  const AxisView view(c.in(0), c.attrs->Int("axis"));
  return DispatchCudaFloat(c.in(0).dtype(), [&](auto t) {
    using T = decltype(t);
    const T* x = c.in(0).as<T>();
    T* y = c.out(0).as<T>();
    const int64_t rows = view.rows(), n = view.n;
    if (view.inner != 1) {
      return Launch(c, &SoftmaxColumnsKernel<T>, {GridFor(rows), kBlockThreads}, x, y, rows, n,
                    view.inner);
    }
    constexpr int N = kPackOf<T>;
    const bool aligned = n % N == 0 && AlignedToPack(x, y);
    const int64_t packs = aligned ? n / N : n;
    const bool held = TeamHolds(packs);
    const int team = TeamSizeFor(packs);
    const auto kernel =
        aligned ? (held ? &SoftmaxRowsKernel<true, N, T> : &SoftmaxRowsKernel<false, N, T>)
                : (held ? &SoftmaxRowsKernel<true, 1, T> : &SoftmaxRowsKernel<false, 1, T>);
    return Launch(c, kernel, {TeamGridFor(rows, team), kBlockThreads}, x, y, rows, n, team);
  });
}

absl::Status SoftmaxGradCuda(const KernelContext& c) {
  const AxisView view(c.in(0), c.attrs->Int("axis"));
  return DispatchCudaFloat(c.in(0).dtype(), [&](auto t) {
    using T = decltype(t);
    const T *y = c.in(0).as<T>(), *dy = c.in(1).as<T>();
    T* dx = c.out(0).as<T>();
    const int64_t rows = view.rows(), n = view.n;
    if (view.inner != 1) {
      return Launch(c, &SoftmaxGradColumnsKernel<T>, {GridFor(rows), kBlockThreads}, y, dy, dx,
                    rows, n, view.inner);
    }
    constexpr int N = kPackOf<T>;
    const bool aligned = n % N == 0 && AlignedToPack(y, dy, dx);
    const int64_t packs = aligned ? n / N : n;
    const bool held = TeamHolds(packs);
    const int team = TeamSizeFor(packs);
    const auto kernel =
        aligned ? (held ? &SoftmaxGradRowsKernel<true, N, T> : &SoftmaxGradRowsKernel<false, N, T>)
                : (held ? &SoftmaxGradRowsKernel<true, 1, T> : &SoftmaxGradRowsKernel<false, 1, T>);
    return Launch(c, kernel, {TeamGridFor(rows, team), kBlockThreads}, y, dy, dx, rows, n, team);
  });
}

}  // namespace

void AddSoftmaxCuda(KernelTable& kernels) {
  kernels.Add("softmax", SoftmaxCuda);
  kernels.Add("softmax_grad", SoftmaxGradCuda);
}

}  // namespace weft
