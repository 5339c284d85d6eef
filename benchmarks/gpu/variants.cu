// The memory-bound kernels of the 1.36 B decoder with other constants than those that weft uses, at
// its shapes: what is faster on the machine at hand. JSON lines; of_copy is the part of the rate of
// a copy. The constants that weft uses are marked "used".
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda_fold.h"
#include "kernels/cuda_map.h"
#include "kernels/cuda_norm.h"
#include "kernels/cuda_norm_grad_stream.h"
#include "kernels/cuda_rope.h"
#include "kernels/cuda_silu_gate.h"
#include "timing.h"

namespace weft {
namespace {

using T = __nv_bfloat16;
constexpr int64_t kBatch = 4, kSequence = 4096, kRows = kBatch * kSequence;
constexpr int64_t kHidden = 2048, kHeads = 16, kFfn = 5632;
constexpr int N = kPackOf<T>;
constexpr int kMultiprocessors = 132, kMostParts = kMultiprocessors * 4;

__global__ void FillKernel(T* data, int64_t count, uint32_t seed) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    uint32_t hash = (static_cast<uint32_t>(i) + seed) * 2654435761u;
    hash = (hash ^ (hash >> 15)) * 2246822519u;
    data[i] = __float2bfloat16(static_cast<float>(hash >> 8) * (2.0f / (1 << 24)) - 1.0f);
  }
}

struct StoreSum {
  T* to;
  __device__ void operator()(int64_t i, float sum) const { to[i] = Narrow<T>(sum); }
};

class Variants {
 public:
  Variants() : timer_(nullptr) {
    uint32_t seed = 0;
    for (T*& data : data_) {
      data = DeviceAlloc<T>(kRows * kFfn);
      FillKernel<<<1024, 256>>>(data, kRows * kFfn, seed += 77);
    }
    statistics_ = DeviceAlloc<float>(kRows);
    partial_ = DeviceAlloc<float>(kMostParts * kHidden);
    CheckCuda(cudaMemset(statistics_, 0, kRows * sizeof(float)), "statistics");
    const int64_t bytes = kRows * kFfn * static_cast<int64_t>(sizeof(T));
    copy_rate_ = 2.0 * bytes / timer_.MedianSeconds(5, 5, [&] {
      CheckCuda(cudaMemcpyAsync(data_[1], data_[0], bytes, cudaMemcpyDeviceToDevice), "copy");
    });
    std::printf("{\"benchmark\": \"gpu_variants\", \"copy_gb_per_s\": %.0f}\n", copy_rate_ * 1e-9);
  }

  void All() {
    Silu<1>("1, used"), Silu<2>("2"), Silu<3>("3"), Silu<4>("4");
    Norm<2>("2"), Norm<4>("4, used"), Norm<8>("8");
    NormGrad<4, 2, 2>("4, 2, 2, used"), NormGrad<4, 3, 1>("4, 3, 1"), NormGrad<4, 4, 1>("4, 4, 1");
    NormGrad<2, 2, 2>("2, 2, 2"), NormGrad<2, 2, 3>("2, 2, 3"), NormGrad<2, 3, 3>("2, 3, 3");
    NormGrad<2, 4, 2>("2, 4, 2"), NormGrad<1, 4, 4>("1, 4, 4"), NormGrad<8, 2, 1>("8, 2, 1");
    Rope<1>("1"), Rope<2>("2, used"), Rope<4>("4");
  }

 private:
  // `tensors` of `elements` each are read or written.
  void Time(const char* name, const char* variant, int tensors, int64_t elements,
            const std::function<void()>& work) {
    const double seconds = timer_.MedianSeconds(5, 5, work);
    CheckCuda(cudaGetLastError(), name);
    const double rate = tensors * static_cast<double>(elements) * sizeof(T) / seconds;
    std::printf(
        "{\"benchmark\": \"gpu_variants\", \"case\": \"%s\", \"variant\": \"%s\", \"us\": %.1f, "
        "\"gb_per_s\": %.0f, \"of_copy\": %.3f}\n",
        name, variant, seconds * 1e6, rate * 1e-9, rate / copy_rate_);
    std::fflush(stdout);
  }

  // Packs that a thread loads ahead.
  template <int kAhead>
  void Silu(const char* variant) {
    const unsigned grid = GridForAll(kRows * kFfn, int64_t{N} * kAhead * kBlockThreads);
    Time("silu_gate", variant, 3, kRows * kFfn, [&] {
      MapKernel<kAhead, N, T, 2, 1><<<grid, kBlockThreads>>>(
          MapOperands<T, 2, 1>{{data_[0], data_[1]}, {data_[2]}}, kRows * kFfn, SiluGate<T>());
    });
    Time("silu_gate_grad", variant, 5, kRows * kFfn, [&] {
      MapKernel<kAhead, N, T, 3, 2><<<grid, kBlockThreads>>>(
          MapOperands<T, 3, 2>{{data_[0], data_[1], data_[2]}, {data_[3], data_[4]}}, kRows * kFfn,
          SiluGateGrad<T>());
    });
  }

  // Packs of a row that a thread holds.
  template <int kSlots>
  void Norm(const char* variant) {
    const int team = TeamSizeFor(kHidden / N, kSlots);
    Time("norm", variant, 2, kRows * kHidden, [&] {
      NormKernel<true, N, false, T, kSlots>
          <<<GridForAll(kRows, kBlockThreads / team), kBlockThreads>>>(
              data_[0], data_[1], nullptr, data_[2], nullptr, statistics_, kRows, kHidden, 1e-5f,
              team);
    });
  }

  // Packs of a row that a thread holds, rows ahead and the one at hand, blocks a multiprocessor.
  template <int kSlots, int kStages, int kAtOnce>
  void NormGrad(const char* variant) {
    const int team = TeamSizeFor(kHidden / N, kSlots);
    const auto kernel = &NormGradStreamKernel<false, T, kSlots, kStages, kAtOnce>;
    const auto shared =
        static_cast<int>(NormGradStream<N, T, kSlots, kStages>::Bytes(/*adds=*/true));
    CheckCuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
              "shared memory");
    int fit = 0;
    CheckCuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&fit, kernel, kBlockThreads, shared),
              "occupancy");
    const int blocks = kMultiprocessors * kAtOnce;
    const std::string all = std::string(variant) + "; fit " + std::to_string(fit);
    const auto sums = [&] {
      kernel<<<blocks, kBlockThreads, shared>>>(data_[0], data_[1], data_[2], nullptr, statistics_,
                                                data_[3], data_[4], partial_, kRows, kHidden, team);
    };
    const auto fold = [&] {
      FoldPartsKernel<<<kHidden / kWarp, dim3(kWarp, kWarp)>>>(static_cast<const float*>(partial_),
                                                               blocks, kHidden, kHidden, 0.0f,
                                                               SumOf(), StoreSum{data_[2]});
    };
    Time("norm_grad_sum", all.c_str(), 4, kRows * kHidden, sums);
    Time("norm_grad_sum_and_fold", all.c_str(), 4, kRows * kHidden, [&] { sums(), fold(); });
  }

  // Heads that a thread loads ahead.
  template <int kAhead>
  void Rope(const char* variant) {
    const RopeSize size{kBatch, kSequence, kHeads, kHidden / kHeads / 2};
    CudaIndexSet positions;
    positions.count = 1;
    positions.local[1] = kSequence;
    const double exponent = -std::log2(1e4) / static_cast<double>(size.half);
    const dim3 block = RopeBlock(size.half / N, kBatch * kHeads, kAhead);
    Time("rope", variant, 2, kRows * kHidden, [&] {
      RopeKernel<N, false, T, kAhead><<<kSequence, block, 2 * size.half * sizeof(float)>>>(
          data_[0], data_[1], size, positions, exponent, false);
    });
  }

  CudaTimer timer_;
  T* data_[5] = {};
  float *statistics_ = nullptr, *partial_ = nullptr;
  double copy_rate_ = 0;
};

}  // namespace
}  // namespace weft

int main() {
  weft::Variants().All();
  return 0;
}
