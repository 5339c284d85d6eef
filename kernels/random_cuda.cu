// random_normal, random_uniform and dropout on CUDA: the same function of seed and logical index as
// on the CPU, by the same generator.
#include <cmath>
#include <numbers>

#include "kernels/cuda_element.h"
#include "kernels/cuda_index_set.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/philox.h"

namespace weft {
namespace {

constexpr int kEach = 4;  // neighbouring elements of a thread: mostly one block of the generator

// Uniform in (0, 1), from 32 random bits.
__device__ inline double Unit(uint32_t word) { return (word + 0.5) * 0x1p-32; }

// Box-Muller: indices 2i and 2i+1 share two uniform words.
__device__ inline double Gaussian(PhiloxStream& stream, int64_t index) {
  const PhiloxBlock& block = stream.Block(index);
  const int pair = static_cast<int>(index % 4) & 2;
  const double radius = sqrt(-2 * log(Unit(block[pair])));
  const double angle = 2 * std::numbers::pi * Unit(block[pair + 1]);
  return radius * (index % 2 == 0 ? cos(angle) : sin(angle));
}

struct Normal {
  double mean, stddev;
  __device__ double operator()(PhiloxStream& stream, int64_t i) const {
    return mean + stddev * Gaussian(stream, i);
  }
};
struct Uniform {
  double low, high;
  __device__ double operator()(PhiloxStream& stream, int64_t i) const {
    return low + (high - low) * Unit(stream.Word(i));
  }
};

template <typename T, typename Sample>
__global__ void __launch_bounds__(kBlockThreads)
    SampleKernel(T* y, int64_t n, CudaBox box, uint64_t seed, Sample sample) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  PhiloxStream stream(seed, 0);
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i * kEach < n;
       i += step) {
    for (int64_t j = i * kEach; j < min(n, (i + 1) * kEach); ++j) {
      y[j] = Narrow<T>(static_cast<WideOf<T>>(sample(stream, box.ToLogical(j))));
    }
  }
}

template <typename Sample>
absl::Status FillFrom(const KernelContext& c, const Sample& sample) {
  const Operand& y = c.out(0);
  WEFT_ASSIGN_OR_RETURN(const CudaBox box, CudaBox::Of(y));
  return DispatchCudaFloat(y.dtype(), [&](auto t) {
    using T = decltype(t);
    const int64_t n = y.elements();
    return Launch(c, &SampleKernel<T, Sample>, {GridFor((n + kEach - 1) / kEach), kBlockThreads},
                  y.as<T>(), n, box, static_cast<uint64_t>(c.attrs->Int("seed")), sample);
  });
}

absl::Status RandomNormalCuda(const KernelContext& c) {
  return FillFrom(c, Normal{c.attrs->Float("mean"), c.attrs->Float("stddev")});
}

absl::Status RandomUniformCuda(const KernelContext& c) {
  return FillFrom(c, Uniform{c.attrs->Float("low"), c.attrs->Float("high")});
}

// Keeps an element if its word is at least `threshold`, which may be 2^32.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    DropoutKernel(const T* x, T* y, int64_t n, CudaBox box, const int64_t* seed, uint64_t tag,
                  uint64_t threshold, WideOf<T> scale) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  PhiloxStream stream(static_cast<uint64_t>(*seed), tag + 1);  // stream 0 belongs to initialisers
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i * kEach < n;
       i += step) {
    for (int64_t j = i * kEach; j < min(n, (i + 1) * kEach); ++j) {
      const bool keep = stream.Word(box.ToLogical(j)) >= threshold;
      y[j] = Narrow<T>(keep ? Widen(x[j]) * scale : WideOf<T>(0));
    }
  }
}

absl::Status DropoutCuda(const KernelContext& c) {
  const double rate = c.attrs->Float("rate");
  const Operand& y = c.out(0);
  WEFT_ASSIGN_OR_RETURN(const CudaBox box, CudaBox::Of(y));
  // A whole word is at least the fraction exactly if it is at least the next whole number.
  const auto threshold = static_cast<uint64_t>(std::ceil(rate * 0x1p32));
  return DispatchCudaFloat(y.dtype(), [&](auto t) {
    using T = decltype(t);
    const int64_t n = y.elements();
    return Launch(c, &DropoutKernel<T>, {GridFor((n + kEach - 1) / kEach), kBlockThreads},
                  c.in(0).as<T>(), y.as<T>(), n, box, c.in(1).as<int64_t>(),
                  static_cast<uint64_t>(c.attrs->Int("tag")), threshold,
                  static_cast<WideOf<T>>(1 / (1 - rate)));
  });
}

}  // namespace

void AddRandomCuda(KernelTable& kernels) {
  kernels.Add("random_normal", RandomNormalCuda);
  kernels.Add("random_uniform", RandomUniformCuda);
  kernels.Add("dropout", DropoutCuda);
}

}  // namespace weft
