// softmax and its gradient on CUDA. Along the innermost dimension a block has a row; along another
// a thread has one, and neighbours read neighbouring columns.
#include <cmath>
#include <limits>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"

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

// The threads that share a row: all of a block, or this one alone.
struct BlockRow {
  static constexpr bool kBlock = true;
  __device__ static int first() { return threadIdx.x; }
  __device__ static int step() { return blockDim.x; }
  template <typename T, typename Combine>
  __device__ static T Reduce(T value, T identity, Combine combine) {
    return BlockReduce(value, identity, combine);
  }
};
struct ThreadRow {
  static constexpr bool kBlock = false;
  __device__ static int first() { return 0; }
  __device__ static int step() { return 1; }
  template <typename T, typename Combine>
  __device__ static T Reduce(T value, T, Combine) {
    return value;
  }
};

// A row of -inf gives zeros.
template <typename Row, typename T>
__device__ void SoftmaxRow(const T* x, T* y, int64_t n, int64_t stride) {
  using C = WideOf<T>;
  const C least = -std::numeric_limits<C>::infinity();
  C max = least;
  for (int64_t i = Row::first(); i < n; i += Row::step()) max = MaxOf()(max, Widen(x[i * stride]));
  max = Row::Reduce(max, least, MaxOf());
  double sum = 0;
  for (int64_t i = Row::first(); i < n && max != least; i += Row::step()) {
    sum += std::exp(Widen(x[i * stride]) - max);
  }
  sum = Row::Reduce(sum, 0.0, SumOf());
  const C scale = static_cast<C>(1 / sum);
  for (int64_t i = Row::first(); i < n; i += Row::step()) {
    y[i * stride] = Narrow<T>(max == least ? C(0) : std::exp(Widen(x[i * stride]) - max) * scale);
  }
}

template <typename Row, typename T>
__device__ void SoftmaxGradRow(const T* y, const T* dy, T* dx, int64_t n, int64_t stride) {
  double dot = 0;
  for (int64_t i = Row::first(); i < n; i += Row::step()) {
    dot += Widen(y[i * stride]) * Widen(dy[i * stride]);
  }
  const auto shift = static_cast<WideOf<T>>(Row::Reduce(dot, 0.0, SumOf()));
  for (int64_t i = Row::first(); i < n; i += Row::step()) {
    dx[i * stride] = Narrow<T>(Widen(y[i * stride]) * (Widen(dy[i * stride]) - shift));
  }
}

template <typename Row>
__device__ inline int64_t FirstRow() {
  return Row::kBlock ? blockIdx.x : static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
template <typename Row>
__device__ inline int64_t RowStep() {
  return Row::kBlock ? gridDim.x : static_cast<int64_t>(gridDim.x) * blockDim.x;
}

template <typename Row, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    SoftmaxKernel(const T* x, T* y, int64_t rows, int64_t n, int64_t inner) {
  for (int64_t row = FirstRow<Row>(); row < rows; row += RowStep<Row>()) {
    const int64_t at = row / inner * n * inner + row % inner;
    SoftmaxRow<Row>(x + at, y + at, n, inner);
  }
}

template <typename Row, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    SoftmaxGradKernel(const T* y, const T* dy, T* dx, int64_t rows, int64_t n, int64_t inner) {
  for (int64_t row = FirstRow<Row>(); row < rows; row += RowStep<Row>()) {
    const int64_t at = row / inner * n * inner + row % inner;
    SoftmaxGradRow<Row>(y + at, dy + at, dx + at, n, inner);
  }
}

absl::Status SoftmaxCuda(const KernelContext& c) {
  const AxisView view(c.in(0), c.attrs->Int("axis"));
  return DispatchCudaFloat(c.in(0).dtype(), [&](auto t) {
    using T = decltype(t);
    const auto kernel =
        view.inner == 1 ? &SoftmaxKernel<BlockRow, T> : &SoftmaxKernel<ThreadRow, T>;
    const unsigned grid = view.inner == 1 ? GridFor(view.rows(), 1) : GridFor(view.rows());
    return Launch(c, kernel, {grid, kBlockThreads}, c.in(0).as<T>(), c.out(0).as<T>(), view.rows(),
                  view.n, view.inner);
  });
}

absl::Status SoftmaxGradCuda(const KernelContext& c) {
  const AxisView view(c.in(0), c.attrs->Int("axis"));
  return DispatchCudaFloat(c.in(0).dtype(), [&](auto t) {
    using T = decltype(t);
    const auto kernel =
        view.inner == 1 ? &SoftmaxGradKernel<BlockRow, T> : &SoftmaxGradKernel<ThreadRow, T>;
    const unsigned grid = view.inner == 1 ? GridFor(view.rows(), 1) : GridFor(view.rows());
    return Launch(c, kernel, {grid, kBlockThreads}, c.in(0).as<T>(), c.in(1).as<T>(),
                  c.out(0).as<T>(), view.rows(), view.n, view.inner);
  });
}

}  // namespace

void AddSoftmaxCuda(KernelTable& kernels) {
  kernels.Add("softmax", SoftmaxCuda);
  kernels.Add("softmax_grad", SoftmaxGradCuda);
}

}  // namespace weft
