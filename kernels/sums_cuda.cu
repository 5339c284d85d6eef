// accumulate, add_n, sum_squares and clip_scale on CUDA.
#include <cmath>

#include "kernels/cuda_block.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_map.h"
#include "kernels/cuda_squares.h"
#include "kernels/device_workspace.h"

namespace weft {
namespace {

struct AddBoth {
  template <class C>
  __device__ void operator()(const C (&in)[2], C (&out)[1]) const {
    out[0] = in[0] + in[1];
  }
};

absl::Status Copy(const KernelContext& c, const Operand& x, const Operand& y) {
  const int64_t n = y.elements();
  if (n == 0 || x.data == y.data || OnlyLists(c)) return absl::OkStatus();
  return CudaStatus(
      cudaMemcpyAsync(y.data, x.data, n * SizeOf(y.dtype()), cudaMemcpyDeviceToDevice, StreamOf(c)),
      "copy on the device");
}

absl::Status AccumulateCuda(const KernelContext& c) {
  const Operand &x = c.in(0), &y = c.out(0);
  if (!c.adds(0)) return Copy(c, x, y);
  return DispatchCudaFloat(y.dtype(), [&](auto t) {
    using T = decltype(t);
    return MapDense<T, 2, 1>(c, {{y.as<T>(), x.as<T>()}, {y.as<T>()}}, y.elements(), AddBoth());
  });
}

// As many operands as fit in a launch.
template <typename T>
struct Addends {
  static constexpr int kMost = (kParameterBytes - 64) / static_cast<int>(sizeof(T*));
  const T* x[kMost];
  int count;
};

// y = x[0] + x[1] + ..., from left to right, each sum rounded to T as if it were stored: packs of N
// first, kAtOnce operands under way at a time, then what is left one by one. y may be x[0].
template <int N, int kAtOnce, typename T>
__device__ inline void AddPack(const Addends<T>& in, T* y, int64_t at) {
  WideOf<T> sum[N];
  LoadPack<N>(in.x[0] + at, sum);
  for (int k = 1; k < in.count; k += kAtOnce) {
    WideOf<T> x[kAtOnce][N];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      if (k + j < in.count) LoadPack<N>(in.x[k + j] + at, x[j]);
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      if (k + j >= in.count) break;
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] = Widen(Narrow<T>(sum[i] + x[j][i]));
    }
  }
  StorePack<N>(sum, y + at);
}

template <int N, int kAtOnce, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    AddNKernel(const __grid_constant__ Addends<T> in, T* y, int64_t n) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t packs = n / N;
  for (int64_t i = thread; i < packs; i += step) AddPack<N, kAtOnce>(in, y, i * N);
  for (int64_t i = packs * N + thread; i < n; i += step) AddPack<1, kAtOnce>(in, y, i);
}

// Fewer elements take a thread each: what counts then is how many operands are under way.
constexpr int64_t kFewElements = 4096;

template <typename T>
absl::Status AddN(const KernelContext& c) {
  T* const y = c.out(0).as<T>();
  const int64_t n = c.out(0).elements();
  size_t next = 0;
  while (next < c.inputs.size()) {
    Addends<T> in;
    in.count = 0;
    if (next > 0) in.x[in.count++] = y;
    bool packs = n >= kFewElements && AlignedToPack(y);
    while (next < c.inputs.size() && in.count < Addends<T>::kMost) {
      const T* const x = c.inputs[next++].as<T>();
      packs = packs && AlignedToPack(x);
      in.x[in.count++] = x;
    }
    constexpr int N = kPackOf<T>;
    WEFT_RETURN_IF_ERROR(
        packs ? Launch(c, &AddNKernel<N, 3, T>, {GridFor((n + N - 1) / N), kBlockThreads}, in, y, n)
              : Launch(c, &AddNKernel<1, 16, T>, {GridFor(n), kBlockThreads}, in, y, n));
  }
  return absl::OkStatus();
}

absl::Status AddNCuda(const KernelContext& c) {
  if (c.inputs.size() == 1) return Copy(c, c.in(0), c.out(0));
  return DispatchCudaFloat(c.out(0).dtype(), [&](auto t) { return AddN<decltype(t)>(c); });
}

// One f64 sum per tile of kSumTile elements: packs of N, then what is left of the last tile.
template <int N, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    TileSquaresKernel(const T* x, int64_t n, int64_t tiles, double* sums) {
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const T* from = x + tile * kSumTile;
    const int count = static_cast<int>(min(n - tile * kSumTile, kSumTile));
    double sum = 0;
#pragma unroll 8
    for (int i = threadIdx.x * N; i + N <= count; i += kBlockThreads * N) {
      WideOf<T> v[N];
      LoadPack<N>(from + i, v);
      sum += SquaresOf<RunOf<T>>(v);
    }
    for (int i = count / N * N + threadIdx.x; i < count; i += kBlockThreads) {
      const WideOf<T> v[1] = {Widen(from[i])};
      sum += SquaresOf<double>(v);
    }
    sum = BlockSum(sum);
    if (threadIdx.x == 0) sums[tile] = sum;
  }
}

constexpr int kAddThreads = 1024;

// A block adds the tiles of a tensor: each thread every 1024th of them, then across the threads.
__global__ void __launch_bounds__(kAddThreads)
    AddTilesKernel(const __grid_constant__ TileSumBatches::Batch batch) {
  const double* const sums = batch.items[blockIdx.x].sums;
  const int64_t tiles = batch.items[blockIdx.x].tiles;
  double sum = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < tiles; i += kAddThreads) sum += sums[i];
  sum = BlockSum(sum);
  if (threadIdx.x == 0) *batch.items[blockIdx.x].y = sum;
}

absl::Status SumSquaresCuda(const KernelContext& c) {
  const int64_t n = c.in(0).elements(), tiles = (n + kSumTile - 1) / kSumTile;
  auto* sums = static_cast<double*>(c.workspace);
  WEFT_RETURN_IF_ERROR(DispatchCudaFloat(c.in(0).dtype(), [&](auto t) {
    using T = decltype(t);
    const auto kernel =
        AlignedToPack(c.in(0).data) ? &TileSquaresKernel<kPackOf<T>, T> : &TileSquaresKernel<1, T>;
    // A block for each tile, so that the last ones keep all multiprocessors busy.
    const auto grid = static_cast<unsigned>(std::min<int64_t>(tiles, 1 << 20));
    return Launch(c, kernel, {grid, kBlockThreads}, c.in(0).as<T>(), n, tiles, sums);
  }));
  TileSumBatches totals = AddTilesCuda(c);
  WEFT_RETURN_IF_ERROR(totals.Add({sums, tiles, c.out(0).as<double>()}, 1));
  return totals.Finish();
}

// `loss_scale` may be nullptr.
__global__ void ClipScaleKernel(const double* sum_sq, const float* loss_scale, double max_norm,
                                float* scale, float* norm) {
  const double without = loss_scale == nullptr ? 1 : *loss_scale;
  const double root = sqrt(*sum_sq) / without;
  double factor = 1;
  if (max_norm > 0) {
    factor = max_norm / (root + 1e-6);
    if (factor > 1) factor = 1;
  }
  if (scale != nullptr) *scale = static_cast<float>(factor / without);
  if (norm != nullptr) *norm = static_cast<float>(root);
}

absl::Status ClipScaleCuda(const KernelContext& c) {
  const float* loss_scale = c.inputs.size() > 1 ? c.in(1).as<float>() : nullptr;
  return Launch(c, &ClipScaleKernel, {1, 1}, c.in(0).as<double>(), loss_scale,
                c.attrs->Float("max_norm"), c.out(0).as<float>(), c.out(1).as<float>());
}

}  // namespace

TileSumBatches AddTilesCuda(const KernelContext& c) {
  return TileSumBatches(c, &AddTilesKernel, kAddThreads);
}

void AddSumsCuda(KernelTable& kernels) {
  kernels.Add("accumulate", AccumulateCuda);
  kernels.Add("add_n", AddNCuda);
  kernels.Add("sum_squares", SumSquaresCuda);
  kernels.Add("clip_scale", ClipScaleCuda);
}

}  // namespace weft
