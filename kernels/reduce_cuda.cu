// reduce_sum, reduce_mean and reduce_max on CUDA, combined in f64. Where a reduced dimension is
// innermost a block has a result, else a warp's lanes have neighbouring results; of few results
// each is cut in parts.
#include <limits>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_fold.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_strided.h"
#include "kernels/reduce_split.h"
#include "kernels/strided.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kColumnRows = 8;
// Rows whose loads a thread of ColumnKernel has under way.
constexpr int kUnderWay = 4;

struct Sum : SumOf {
  static constexpr double kIdentity = 0;
};
// As the CPU's std::max: NaN is not passed on.
struct Max {
  static constexpr double kIdentity = -std::numeric_limits<double>::infinity();
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

// The spaces count packs of N along their innermost dimension: `over` for rows, `kept` for columns.
struct Work {
  CudaSpace<1> kept, over;
  int64_t parts, part;  // of `over`
};

// Where the value of result r over part p goes: partial[p * results + r], or the result itself if
// there are no parts.
template <typename T>
struct Target {
  double* partial;
  T* y;
  int64_t results;
  double post;
  __device__ void Part(int64_t part, int64_t result, double value) const {
    if (partial == nullptr) {
      (*this)(result, value);
    } else {
      partial[part * results + result] = value;
    }
  }
  __device__ void operator()(int64_t result, double value) const {
    y[result] = Narrow<T>(static_cast<WideOf<T>>(value * post));
  }
};

template <int N, typename Combine, typename T>
__global__ void __launch_bounds__(kBlockThreads) RowKernel(const T* x, Target<T> to, Work work) {
  using Run = RunOf<T>;
  const Combine combine;
  for (int64_t job = blockIdx.x; job < to.results * work.parts; job += gridDim.x) {
    int64_t base[1];
    work.kept.Offsets(job % to.results, base);
    const int64_t first = job / to.results * work.part;
    const int64_t end = min(first + work.part, work.over.elements);
    double value = Combine::kIdentity;
#pragma unroll 4
    for (int64_t i = first + threadIdx.x; i < end; i += blockDim.x) {
      int64_t at[1];
      work.over.Offsets(i, at);
      WideOf<T> v[N];
      LoadPack<N>(x + base[0] + at[0], v);
      Run run = static_cast<Run>(Combine::kIdentity);
#pragma unroll
      for (int j = 0; j < N; ++j) run = combine(run, static_cast<Run>(v[j]));
      value = combine(value, static_cast<double>(run));
    }
    value = BlockReduce(value, static_cast<double>(Combine::kIdentity), combine);
    if (threadIdx.x == 0) to.Part(job / to.results, job % to.results, value);
  }
}

// A warp has a pack of columns a lane, a block eight rows of them at a time.
template <int N, typename Combine, typename T>
__global__ void __launch_bounds__(kWarp* kColumnRows)
    ColumnKernel(const T* x, Target<T> to, Work work) {
  using Run = RunOf<T>;
  constexpr int kColumns = kWarp * N;
  __shared__ double values[kColumnRows][kColumns];
  const Combine combine;
  const int64_t tiles = (work.kept.elements + kWarp - 1) / kWarp;
  for (int64_t job = blockIdx.x; job < tiles * work.parts; job += gridDim.x) {
    const int64_t pack = job % tiles * kWarp + threadIdx.x, part = job / tiles;
    const int64_t end =
        pack < work.kept.elements ? min((part + 1) * work.part, work.over.elements) : 0;
    int64_t base[1] = {0};
    if (end > 0) work.kept.Offsets(pack, base);
    double value[N];
#pragma unroll
    for (int j = 0; j < N; ++j) value[j] = Combine::kIdentity;
    for (int64_t row = part * work.part + threadIdx.y; row < end; row += kColumnRows * kUnderWay) {
      WideOf<T> v[kUnderWay][N];
#pragma unroll
      for (int u = 0; u < kUnderWay; ++u) {
        if (row + u * kColumnRows < end) {
          int64_t at[1];
          work.over.Offsets(row + u * kColumnRows, at);
          LoadPack<N>(x + base[0] + at[0], v[u]);
        } else {
#pragma unroll
          for (int j = 0; j < N; ++j) v[u][j] = static_cast<WideOf<T>>(Combine::kIdentity);
        }
      }
#pragma unroll
      for (int j = 0; j < N; ++j) {
        Run run = static_cast<Run>(Combine::kIdentity);
#pragma unroll
        for (int u = 0; u < kUnderWay; ++u) run = combine(run, static_cast<Run>(v[u][j]));
        value[j] = combine(value[j], static_cast<double>(run));
      }
    }
#pragma unroll
    for (int j = 0; j < N; ++j) values[threadIdx.y][threadIdx.x * N + j] = value[j];
    __syncthreads();
    for (int column = threadIdx.y * kWarp + threadIdx.x; column < kColumns;
         column += kWarp * kColumnRows) {
      const int64_t result = job % tiles * kColumns + column;
      if (result >= to.results) break;
      double total = values[0][column];
      for (int i = 1; i < kColumnRows; ++i) total = combine(total, values[i][column]);
      to.Part(part, result, total);
    }
    __syncthreads();
  }
}

template <int N, typename Combine, typename T>
absl::Status Start(const KernelContext& c, bool rows, Work work, const Target<T>& to) {
  CudaSpace<1>& innermost = rows ? work.over : work.kept;
  if (innermost.rank > 0) {
    const int last = innermost.rank - 1;
    innermost.elements /= N;
    innermost.extents[last] /= N;
    innermost.strides[0][last] *= N;
  }
  work.part = (work.over.elements + work.parts - 1) / work.parts;
  const T* x = c.in(0).as<T>();
  if (rows) {
    return Launch(c, &RowKernel<N, Combine, T>,
                  {GridFor(to.results * work.parts, 1), kBlockThreads}, x, to, work);
  }
  const int64_t tiles = (work.kept.elements + kWarp - 1) / kWarp;
  return Launch(c, &ColumnKernel<N, Combine, T>,
                {GridFor(tiles * work.parts, 1), dim3(kWarp, kColumnRows)}, x, to, work);
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
  double* const partial = split.parts > 1 ? static_cast<double*>(c.workspace) : nullptr;
  const Target<T> to{partial, c.out(0).as<T>(), split.results, post};
  // Every other stride is a multiple of the innermost extent.
  const CudaSpace<1>& innermost = split.rows ? work.over : work.kept;
  constexpr int N = kPackOf<T>;
  const bool packs =
      innermost.rank > 0 && innermost.extents[innermost.rank - 1] % N == 0 && AlignedToPack(x.data);
  WEFT_RETURN_IF_ERROR(packs ? (Start<N, Combine, T>(c, split.rows, work, to))
                             : (Start<1, Combine, T>(c, split.rows, work, to)));
  if (partial == nullptr) return absl::OkStatus();
  return FoldParts(c, static_cast<const double*>(partial), split.parts, split.results,
                   split.results, static_cast<double>(Combine::kIdentity), Combine(), to);
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
