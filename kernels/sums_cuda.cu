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

// y = x, or y = y + x.
absl::Status CopyOrAdd(const KernelContext& c, const Operand& x, const Operand& y, bool adds) {
  const int64_t n = y.elements();
  if (n == 0) return absl::OkStatus();
  if (!adds) {
    if (x.data == y.data) return absl::OkStatus();
    return CudaStatus(cudaMemcpyAsync(y.data, x.data, n * SizeOf(y.dtype()),
                                      cudaMemcpyDeviceToDevice, StreamOf(c)),
                      "copy on the device");
  }
  return DispatchCudaFloat(y.dtype(), [&](auto t) {
    using T = decltype(t);
    return MapDense<T, 2, 1>(c, {{y.as<T>(), x.as<T>()}, {y.as<T>()}}, n, AddBoth());
  });
}

absl::Status AccumulateCuda(const KernelContext& c) {
  return CopyOrAdd(c, c.in(0), c.out(0), c.adds(0));
}

absl::Status AddNCuda(const KernelContext& c) {
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    WEFT_RETURN_IF_ERROR(CopyOrAdd(c, c.in(static_cast<int>(i)), c.out(0), i > 0));
  }
  return absl::OkStatus();
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

// One block adds the tiles: each thread every 1024th of them, then across the threads.
__global__ void __launch_bounds__(kAddThreads)
    AddTilesKernel(const double* sums, int64_t tiles, double* y) {
  double sum = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < tiles; i += kAddThreads) sum += sums[i];
  sum = BlockSum(sum);
  if (threadIdx.x == 0) *y = sum;
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
  return AddTilesCuda(c, sums, tiles, c.out(0).as<double>());
}

__global__ void ClipScaleKernel(const double* sum_sq, double max_norm, float* scale, float* norm) {
  const double root = sqrt(*sum_sq);
  double factor = 1;
  if (max_norm > 0) {
    factor = max_norm / (root + 1e-6);
    if (factor > 1) factor = 1;
  }
  if (scale != nullptr) *scale = static_cast<float>(factor);
  if (norm != nullptr) *norm = static_cast<float>(root);
}

absl::Status ClipScaleCuda(const KernelContext& c) {
  return Launch(c, &ClipScaleKernel, {1, 1}, c.in(0).as<double>(), c.attrs->Float("max_norm"),
                c.out(0).as<float>(), c.out(1).as<float>());
}

}  // namespace

absl::Status AddTilesCuda(const KernelContext& c, const double* sums, int64_t tiles, double* y) {
  return Launch(c, &AddTilesKernel, {1, kAddThreads}, sums, tiles, y);
}

void AddSumsCuda(KernelTable& kernels) {
  kernels.Add("accumulate", AccumulateCuda);
  kernels.Add("add_n", AddNCuda);
  kernels.Add("sum_squares", SumSquaresCuda);
  kernels.Add("clip_scale", ClipScaleCuda);
}

}  // namespace weft
