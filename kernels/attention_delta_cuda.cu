// attention_delta on CUDA: a warp has a row of one head.
#include "kernels/attention_cuda.h"
#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"

namespace weft {
namespace {

constexpr int kRows = kBlockThreads / kWarp;

template <typename T, typename O>
__global__ void __launch_bounds__(kBlockThreads)
    DeltaKernel(int64_t rows, int64_t width, const T* doo, const O* o, const WideOf<T>* dlse,
                WideOf<T>* delta) {
  const int lane = threadIdx.x % kWarp;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kRows;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kWarp; at < rows;
       at += step) {
    WideOf<T> sum = 0;
    for (int64_t c = lane; c < width; c += kWarp) {
      sum += Widen(o[at * width + c]) * Widen(doo[at * width + c]);
    }
    sum = WarpReduce(sum, SumOf());
    if (lane == 0) delta[at] = dlse == nullptr ? sum : sum - dlse[at];
  }
}

template <typename T, typename O>
absl::Status Deltas(const KernelContext& c, const Operand& doo, const Operand& o,
                    const Operand* dlse, void* delta) {
  using W = WideOf<T>;
  const int64_t rows = doo.shape[0] * doo.shape[1] * doo.shape[2];
  return Launch(c, &DeltaKernel<T, O>, {GridFor((rows + kRows - 1) / kRows, 1), kBlockThreads},
                rows, doo.shape[3], doo.as<T>(), o.as<O>(), DataOf<W>(dlse),
                static_cast<W*>(delta));
}

absl::Status AttentionDeltaCuda(const KernelContext& c) {
  return AttentionDeltas(c, c.in(0), c.in(1), GivenInput(c, 2), c.out(0).data);
}

}  // namespace

absl::Status AttentionDeltas(const KernelContext& c, const Operand& doo, const Operand& o,
                             const Operand* dlse, void* delta) {
  const bool wide = o.dtype() != doo.dtype();
  return DispatchCudaFloat(doo.dtype(), [&](auto t) {
    using T = decltype(t);
    return wide ? Deltas<T, WideOf<T>>(c, doo, o, dlse, delta)
                : Deltas<T, T>(c, doo, o, dlse, delta);
  });
}

void AddAttentionDeltaCuda(KernelTable& kernels) {
  kernels.Add("attention_delta", AttentionDeltaCuda);
}

}  // namespace weft
