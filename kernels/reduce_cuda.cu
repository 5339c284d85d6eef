// reduce_sum, reduce_mean and reduce_max on CUDA, combined in f64. Where a reduced dimension is
// innermost a block has a result, else a warp's lanes have neighbouring results.
#include <limits>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_strided.h"
#include "kernels/reduce_split.h"
#include "kernels/strided.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kColumnRows = 8;

struct Sum : SumOf {
  static constexpr double kIdentity = 0;
};
// As the CPU's std::max: NaN is not passed on.
struct Max {
  static constexpr double kIdentity = -std::numeric_limits<double>::infinity();
  __device__ double operator()(double a, double b) const { return a < b ? b : a; }
};

// Result r of part p lies at partial[p * results + r].
struct Work {
  CudaSpace<1> kept, over;
  int64_t parts, part;  // of `over`
};

template <typename Combine, typename T>
__global__ void __launch_bounds__(kBlockThreads) RowKernel(const T* x, double* partial, Work work) {
  const int64_t results = work.kept.elements;
  for (int64_t job = blockIdx.x; job < results * work.parts; job += gridDim.x) {
    int64_t base[1];
    work.kept.Offsets(job % results, base);
    const int64_t first = job / results * work.part;
    const int64_t end = min(first + work.part, work.over.elements);
    double value = Combine::kIdentity;
    for (int64_t i = first + threadIdx.x; i < end; i += blockDim.x) {
      int64_t at[1];
      work.over.Offsets(i, at);
      value = Combine()(value, static_cast<double>(Widen(x[base[0] + at[0]])));
    }
    value = BlockReduce(value, static_cast<double>(Combine::kIdentity), Combine());
    if (threadIdx.x == 0) partial[job] = value;
  }
}

template <typename Combine, typename T>
__global__ void __launch_bounds__(kWarp* kColumnRows)
    ColumnKernel(const T* x, double* partial, Work work) {
  __shared__ double values[kColumnRows][kWarp];
  const int64_t results = work.kept.elements, tiles = (results + kWarp - 1) / kWarp;
  for (int64_t job = blockIdx.x; job < tiles * work.parts; job += gridDim.x) {
    const int64_t result = job % tiles * kWarp + threadIdx.x;
    const int64_t first = job / tiles * work.part;
    const int64_t end = min(first + work.part, work.over.elements);
    int64_t base[1] = {0};
    if (result < results) work.kept.Offsets(result, base);
    double value = Combine::kIdentity;
    for (int64_t i = first + threadIdx.y; i < end && result < results; i += kColumnRows) {
      int64_t at[1];
      work.over.Offsets(i, at);
      value = Combine()(value, static_cast<double>(Widen(x[base[0] + at[0]])));
    }
    values[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    if (threadIdx.y == 0 && result < results) {
      for (int i = 1; i < kColumnRows; ++i) value = Combine()(value, values[i][threadIdx.x]);
      partial[job / tiles * results + result] = value;
    }
    __syncthreads();
  }
}

// y = post * combine over the parts, in order.
template <typename Combine, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    FinishKernel(const double* partial, T* y, int64_t results, int64_t parts, double post) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < results;
       i += step) {
    double value = Combine::kIdentity;
    for (int64_t p = 0; p < parts; ++p) value = Combine()(value, partial[p * results + i]);
    y[i] = Narrow<T>(static_cast<WideOf<T>>(value * post));
  }
}

template <typename Combine, typename T>
absl::Status Reduce(const KernelContext& c, double post) {
  const Operand& x = c.in(0);
  const ReduceSplit split(x.shape, *c.attrs);
  const Shape strides = DenseStrides(x.shape);
  Shape kept, kept_strides, over, over_strides;
  for (size_t d = 0; d < x.shape.size(); ++d) {
    (split.reduced[d] ? over : kept).push_back(x.shape[d]);
    (split.reduced[d] ? over_strides : kept_strides).push_back(strides[d]);
  }
  Work work;
  WEFT_ASSIGN_OR_RETURN(work.kept, MakeCudaSpace<1>(kept, {kept_strides}));
  WEFT_ASSIGN_OR_RETURN(work.over, MakeCudaSpace<1>(over, {over_strides}));
  work.parts = split.parts;
  work.part = split.part();
  const int64_t results = split.results;
  auto* partial = static_cast<double*>(c.workspace);
  const bool rows = work.over.rank > 0 && work.over.strides[0][work.over.rank - 1] == 1;
  if (rows) {
    WEFT_RETURN_IF_ERROR(Launch(c, &RowKernel<Combine, T>,
                                {GridFor(results * split.parts, 1), kBlockThreads}, x.as<T>(),
                                partial, work));
  } else {
    WEFT_RETURN_IF_ERROR(
        Launch(c, &ColumnKernel<Combine, T>,
               {GridFor((results + kWarp - 1) / kWarp * split.parts, 1), dim3(kWarp, kColumnRows)},
               x.as<T>(), partial, work));
  }
  return Launch(c, &FinishKernel<Combine, T>, {GridFor(results), kBlockThreads}, partial,
                c.out(0).as<T>(), results, split.parts, post);
}

template <typename Combine>
absl::Status ReduceCuda(const KernelContext& c) {
  return DispatchCudaFloat(c.in(0).dtype(),
                           [&](auto t) { return Reduce<Combine, decltype(t)>(c, 1.0); });
}

// Divides by the logical count: the parts of a split dimension are then summands of the mean.
absl::Status ReduceMeanCuda(const KernelContext& c) {
  const double count = static_cast<double>(ReduceSplit(c.in(0).logical->shape, *c.attrs).count);
  return DispatchCudaFloat(c.in(0).dtype(),
                           [&](auto t) { return Reduce<Sum, decltype(t)>(c, 1.0 / count); });
}

}  // namespace

void AddReduceCuda(KernelTable& kernels) {
  kernels.Add("reduce_sum", ReduceCuda<Sum>);
  kernels.Add("reduce_mean", ReduceMeanCuda);
  kernels.Add("reduce_max", ReduceCuda<Max>);
}

}  // namespace weft
