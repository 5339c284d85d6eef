// Matrix products by a plain tiled kernel: any strides, f32 sums for 16-bit operands.
#include "kernels/cuda_element.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_matmul.h"

namespace weft {
namespace {

constexpr int kTile = 16;

template <typename In, typename Out>
__global__ void __launch_bounds__(kTile* kTile)
    MatmulKernel(MatmulSize size, MatmulView a, MatmulView b, const Out* addend, MatmulTarget c) {
  using W = WideOf<In>;
  __shared__ W left[kTile][kTile + 1], right[kTile][kTile + 1];
  const int64_t columns = (size.n + kTile - 1) / kTile;
  const int64_t tiles = (size.m + kTile - 1) / kTile * columns;
  const int x = threadIdx.x, y = threadIdx.y;
  for (int64_t job = blockIdx.x; job < tiles * size.batch; job += gridDim.x) {
    const int64_t batch = job / tiles;
    const int64_t row = job % tiles / columns * kTile, column = job % columns * kTile;
    const In* from_a = static_cast<const In*>(a.data) + batch * a.batch;
    const In* from_b = static_cast<const In*>(b.data) + batch * b.batch;
    W sum = 0;
    for (int64_t k = 0; k < size.k; k += kTile) {
      const bool in_a = row + y < size.m && k + x < size.k;
      const bool in_b = k + y < size.k && column + x < size.n;
      left[y][x] = in_a ? Widen(from_a[(row + y) * a.row + (k + x) * a.column]) : W(0);
      right[y][x] = in_b ? Widen(from_b[(k + y) * b.row + (column + x) * b.column]) : W(0);
      __syncthreads();
      for (int i = 0; i < kTile; ++i) sum += left[y][i] * right[i][x];
      __syncthreads();
    }
    if (row + y >= size.m || column + x >= size.n) continue;
    const int64_t at = batch * c.batch + (row + y) * c.row + (column + x) * c.column;
    if (addend != nullptr) sum += static_cast<W>(Widen(addend[at]));
    static_cast<Out*>(c.data)[at] = Narrow<Out>(static_cast<WideOf<Out>>(sum));
  }
}

template <typename In, typename Out>
absl::Status Run(const KernelContext& context, const MatmulSize& size, const MatmulView& a,
                 const MatmulView& b, const void* addend, const MatmulTarget& c) {
  const int64_t tiles = (size.m + kTile - 1) / kTile * ((size.n + kTile - 1) / kTile) * size.batch;
  return Launch(context, &MatmulKernel<In, Out>, {GridFor(tiles, 1), dim3(kTile, kTile)}, size, a,
                b, static_cast<const Out*>(addend), c);
}

}  // namespace

absl::Status MatmulFallback(const KernelContext& context, const MatmulSize& size,
                            const MatmulView& a, const MatmulView& b, const void* addend,
                            const MatmulTarget& c) {
  return DispatchCudaFloat(a.dtype, [&](auto t) {
    using In = decltype(t);
    if (c.dtype == a.dtype) return Run<In, In>(context, size, a, b, addend, c);
    if constexpr (sizeof(In) == 2) {
      if (c.dtype == DType::kF32) return Run<In, float>(context, size, a, b, addend, c);
    }
    return absl::UnimplementedError(absl::StrCat("product of ", std::string(Name(a.dtype)),
                                                 " into ", std::string(Name(c.dtype))));
  });
}

}  // namespace weft
