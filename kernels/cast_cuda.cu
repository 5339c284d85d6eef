// cast on CUDA, between any two element types, and fill.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda_batch.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"

namespace weft {
namespace {

// As the CPU: by float into 16-bit floats, towards zero into integers.
template <typename To, typename From>
__device__ inline To Convert(From value) {
  if constexpr (std::is_arithmetic_v<To>) {
    return static_cast<To>(Widen(value));
  } else {
    return Narrow<To>(static_cast<float>(Widen(value)));
  }
}

template <typename To, typename From>
struct CastTensor {
  const From* x;
  To* y;
  int64_t n;
  bool aligned;  // both, to packs
};

// Elements of a block.
constexpr int kCastTile = 8192;
// Packs of N that a thread has on their way at a time.
constexpr int kCastPacks = 8;

template <int N, typename To, typename From>
__device__ inline void CastTile(const From* x, To* y, int count) {
  constexpr int kStride = kBlockThreads * N;
  for (int i = threadIdx.x * N; i + N <= count; i += kCastPacks * kStride) {
    Pack<From, N> in[kCastPacks];
#pragma unroll
    for (int k = 0; k < kCastPacks; ++k) {
      const int at = i + k * kStride;
      if (at + N <= count) in[k] = *reinterpret_cast<const Pack<From, N>*>(x + at);
    }
#pragma unroll
    for (int k = 0; k < kCastPacks; ++k) {
      const int at = i + k * kStride;
      if (at + N > count) break;
      Pack<To, N> out;
#pragma unroll
      for (int j = 0; j < N; ++j) out.at[j] = Convert<To>(in[k].at[j]);
      *reinterpret_cast<Pack<To, N>*>(y + at) = out;
    }
  }
  for (int i = count / N * N + threadIdx.x; i < count; i += kBlockThreads) {
    y[i] = Convert<To>(x[i]);
  }
}

template <typename To, typename From>
using CastBatches = CudaBatches<CastTensor<To, From>, kParameterBytes>;

// Packs of N for aligned tensors.
template <int N, typename To, typename From>
__global__ void __launch_bounds__(kBlockThreads)
    CastKernel(const __grid_constant__ typename CastBatches<To, From>::Batch batch) {
  const int item = batch.Find(blockIdx.x);
  const CastTensor<To, From>& t = batch.items[item];
  const int64_t begin = static_cast<int64_t>(blockIdx.x - batch.begins[item]) * kCastTile;
  const int count = static_cast<int>(min(t.n - begin, static_cast<int64_t>(kCastTile)));
  if (N > 1 && t.aligned) {
    CastTile<N>(t.x + begin, t.y + begin, count);
  } else {
    CastTile<1>(t.x + begin, t.y + begin, count);
  }
}

// Calls of the same two types.
template <typename To, typename From>
absl::Status CastRun(absl::Span<const KernelContext* const> calls) {
  // Packs for the pairs of mixed precision: 8 bytes and more of the narrower type.
  constexpr bool kFloats = !std::is_integral_v<From> && !std::is_integral_v<To>;
  constexpr int N = kFloats ? 16 / static_cast<int>(std::max(sizeof(From), sizeof(To))) : 1;
  CastBatches<To, From> batches(*calls[0], &CastKernel<N, To, From>, kBlockThreads);
  for (const KernelContext* c : calls) {
    const From* x = c->in(0).as<From>();
    To* y = c->out(0).as<To>();
    const int64_t n = c->out(0).elements();
    WEFT_RETURN_IF_ERROR(
        batches.Add({x, y, n, AlignedToPack(x, y)}, (n + kCastTile - 1) / kCastTile));
  }
  return batches.Finish();
}

absl::Status CastCuda(absl::Span<const KernelContext* const> calls) {
  const auto same = [](const KernelContext& a, const KernelContext& b) {
    return a.in(0).dtype() == b.in(0).dtype() && a.out(0).dtype() == b.out(0).dtype();
  };
  return ForRuns(calls, same, [](absl::Span<const KernelContext* const> run) {
    return DispatchCudaAny(run[0]->in(0).dtype(), [&](auto from) {
      return DispatchCudaAny(run[0]->out(0).dtype(),
                             [&](auto to) { return CastRun<decltype(to), decltype(from)>(run); });
    });
  });
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads) FillKernel(T* y, T value, int64_t n) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    y[i] = value;
  }
}

absl::Status FillCuda(const KernelContext& c) {
  const Operand& y = c.out(0);
  const double value = c.attrs->Float("value");
  return DispatchCudaAny(y.dtype(), [&](auto t) {
    using T = decltype(t);
    const T element = Narrow<T>(static_cast<WideOf<T>>(value));
    return Launch(c, &FillKernel<T>, {GridFor(y.elements()), kBlockThreads}, y.as<T>(), element,
                  y.elements());
  });
}

}  // namespace

void AddCastCuda(KernelTable& kernels) {
  kernels.Add("cast", OneOf<CastCuda>, CastCuda);
  kernels.Add("fill", FillCuda);
}

}  // namespace weft
