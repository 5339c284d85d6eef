// cast on CUDA, between any two element types, and fill.
#include <type_traits>

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

template <int N, typename To, typename From>
__global__ void __launch_bounds__(kBlockThreads) CastKernel(const From* x, To* y, int64_t n) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t packs = n / N;
  for (int64_t i = thread; i < packs; i += step) {
    const Pack<From, N> in = reinterpret_cast<const Pack<From, N>*>(x)[i];
    Pack<To, N> out;
#pragma unroll
    for (int j = 0; j < N; ++j) out.at[j] = Convert<To>(in.at[j]);
    reinterpret_cast<Pack<To, N>*>(y)[i] = out;
  }
  for (int64_t i = packs * N + thread; i < n; i += step) y[i] = Convert<To>(x[i]);
}

absl::Status CastCuda(const KernelContext& c) {
  return DispatchCudaAny(c.in(0).dtype(), [&](auto from) {
    return DispatchCudaAny(c.out(0).dtype(), [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      const From* x = c.in(0).as<From>();
      To* y = c.out(0).as<To>();
      const int64_t n = c.out(0).elements();
      // Packs for the pairs of mixed precision: 8 bytes and more of the narrower type.
      constexpr bool kFloats = !std::is_integral_v<From> && !std::is_integral_v<To>;
      constexpr int N = kFloats ? 16 / static_cast<int>(std::max(sizeof(From), sizeof(To))) : 1;
      if (N > 1 && AlignedToPack(x, y)) {
        return Launch(c, &CastKernel<N, To, From>, {GridFor((n + N - 1) / N), kBlockThreads}, x, y,
                      n);
      }
      return Launch(c, &CastKernel<1, To, From>, {GridFor(n), kBlockThreads}, x, y, n);
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
  kernels.Add("cast", CastCuda);
  kernels.Add("fill", FillCuda);
}

}  // namespace weft
