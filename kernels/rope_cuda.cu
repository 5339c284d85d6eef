// rope on CUDA. A block has one position of the sequence: it makes the angles once, in f64, and
// turns that row of every batch entry and head.
#include <cmath>

#include "kernels/cuda_element.h"
#include "kernels/cuda_index_set.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"

namespace weft {
namespace {

struct RopeSize {
  int64_t batch, rows, heads, half;
};

// Pairs (i, i + half), or (2i, 2i + 1) if interleaved, by N of i at a time.
template <int N, bool kInterleaved, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    RopeKernel(const T* x, T* y, RopeSize size, CudaIndexSet positions, double theta,
               bool inverse) {
  using W = WideOf<T>;
  W* cosines = DynamicShared<W>();
  W* sines = cosines + size.half;
  const int64_t packs = size.half / N, items = size.batch * size.heads * packs;
  for (int64_t row = blockIdx.x; row < size.rows; row += gridDim.x) {
    const auto position = static_cast<double>(positions.ToLogical(row));
    for (int64_t i = threadIdx.x; i < size.half; i += blockDim.x) {
      const double angle =
          position * pow(theta, -static_cast<double>(i) / static_cast<double>(size.half));
      cosines[i] = static_cast<W>(cos(angle));
      sines[i] = static_cast<W>(inverse ? -sin(angle) : sin(angle));
    }
    __syncthreads();
    for (int64_t item = threadIdx.x; item < items; item += blockDim.x) {
      const int64_t i = item % packs * N, head = item / packs % size.heads;
      const int64_t batch = item / packs / size.heads;
      const int64_t at = ((batch * size.rows + row) * size.heads + head) * 2 * size.half +
                         (kInterleaved ? 2 : 1) * i;
      W a[N], b[N];
      if constexpr (kInterleaved) {
        W both[2][N];
        LoadPack<N>(x + at, both[0]);
        LoadPack<N>(x + at + N, both[1]);
#pragma unroll
        for (int j = 0; j < N; ++j) {
          const W first = both[2 * j / N][2 * j % N],
                  second = both[(2 * j + 1) / N][(2 * j + 1) % N];
          a[j] = first * cosines[i + j] - second * sines[i + j];
          b[j] = first * sines[i + j] + second * cosines[i + j];
        }
#pragma unroll
        for (int j = 0; j < N; ++j) {
          both[2 * j / N][2 * j % N] = a[j];
          both[(2 * j + 1) / N][(2 * j + 1) % N] = b[j];
        }
        StorePack<N>(both[0], y + at);
        StorePack<N>(both[1], y + at + N);
      } else {
        LoadPack<N>(x + at, a);
        LoadPack<N>(x + at + size.half, b);
#pragma unroll
        for (int j = 0; j < N; ++j) {
          const W first = a[j], second = b[j];
          a[j] = first * cosines[i + j] - second * sines[i + j];
          b[j] = first * sines[i + j] + second * cosines[i + j];
        }
        StorePack<N>(a, y + at);
        StorePack<N>(b, y + at + size.half);
      }
    }
    __syncthreads();
  }
}

template <typename T>
absl::Status Rope(const KernelContext& c) {
  const Operand &x = c.in(0), &y = c.out(0);
  const RopeSize size{x.shape[0], x.shape[1], x.shape[2], x.shape[3] / 2};
  if (y.elements() == 0) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const CudaIndexSet positions, CudaIndexSet::Of(x.box->dims[1]));
  constexpr int N = kPackOf<T>;
  const bool packs = size.half % N == 0 && AlignedToPack(x.data, y.data);
  const bool interleaved = c.attrs->Bool("interleaved");
  const auto kernel = packs ? (interleaved ? &RopeKernel<N, true, T> : &RopeKernel<N, false, T>)
                            : (interleaved ? &RopeKernel<1, true, T> : &RopeKernel<1, false, T>);
  const LaunchShape shape{GridFor(size.rows, 1), kBlockThreads,
                          2 * size.half * static_cast<int64_t>(sizeof(WideOf<T>))};
  return Launch(c, kernel, shape, x.as<T>(), y.as<T>(), size, positions, c.attrs->Float("theta"),
                c.attrs->Bool("inverse"));
}

absl::Status RopeCuda(const KernelContext& c) {
  return DispatchCudaFloat(c.in(0).dtype(), [&](auto t) { return Rope<decltype(t)>(c); });
}

}  // namespace

void AddRopeCuda(KernelTable& kernels) { kernels.Add("rope", RopeCuda); }

}  // namespace weft
