// rms_norm and layer_norm on CUDA, forward and backward. Backward the blocks leave sums for the
// weights' gradients, and a second kernel adds them in order, so that equal inputs give equal bits.
#include <algorithm>

#include "kernels/cuda_element.h"
#include "kernels/cuda_fold.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_norm.h"
#include "kernels/cuda_norm_grad.h"
#include "kernels/cuda_norm_grad_stream.h"
#include "kernels/cuda_team.h"
#include "kernels/device_workspace.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Shared memory of a block up to which its sums lie there; longer rows keep them in the scratch.
constexpr int64_t kMostShared = 96 * 1024;

// to[i] (+)= the sum over blocks.
template <typename T>
struct StoreGrad {
  T* to;
  bool adds;
  __device__ void operator()(int64_t i, WideOf<T> sum) const {
    to[i] = Narrow<T>(adds ? sum + Widen(to[i]) : sum);
  }
};

template <bool kLayer, typename T>
absl::Status Norm(const KernelContext& c) {
  using W = WideOf<T>;
  const Operand& x = c.in(0);
  const int64_t h = x.shape.back(), rows = h == 0 ? 0 : x.elements() / h;
  const T* weight = c.in(1).as<T>();
  const T* bias = kLayer ? c.in(2).as<T>() : nullptr;
  T* y = c.out(0).as<T>();
  constexpr int N = kPackOf<T>;
  const bool aligned = h % N == 0 && AlignedToPack(x.data, weight, bias, y);
  const int64_t packs = aligned ? h / N : h;
  const int team = TeamSizeFor(packs, kNormPacks);
  const bool held = TeamHolds(packs, kNormPacks);
  const auto kernel =
      aligned ? (held ? &NormKernel<true, N, kLayer, T> : &NormKernel<false, N, kLayer, T>)
              : (held ? &NormKernel<true, 1, kLayer, T> : &NormKernel<false, 1, kLayer, T>);
  return Launch(c, kernel, {GridForAll(rows, kBlockThreads / team), kBlockThreads}, x.as<T>(),
                weight, bias, y, kLayer ? c.out(1).as<W>() : nullptr, c.out(kLayer ? 2 : 1).as<W>(),
                rows, h, static_cast<W>(c.attrs->Float("eps")), team);
}

template <bool kLayer, typename T>
absl::Status NormGrad(const KernelContext& c) {
  using W = WideOf<T>;
  const Operand& x = c.in(1);
  const int64_t h = x.shape.back(), rows = h == 0 ? 0 : x.elements() / h;
  const T* dy = c.in(0).as<T>();
  const T* weight = c.in(2).as<T>();
  constexpr int kAddend = kLayer ? 5 : 4;
  const T* addend = c.inputs.size() > kAddend ? c.in(kAddend).as<T>() : nullptr;
  T* dx = c.out(0).as<T>();
  constexpr int N = kPackOf<T>;
  const bool aligned = h % N == 0 && AlignedToPack(dy, x.data, weight, addend, dx);
  const int64_t packs = aligned ? h / N : h;
  const int team = TeamSizeFor(packs);
  const int64_t blocks = std::min<int64_t>(TeamGridFor(rows, team), kNormBlocks);
  const int64_t width = kLayer ? 2 * h : h, bytes = width * static_cast<int64_t>(sizeof(W));
  W* partial = static_cast<W*>(c.workspace);
  const W* means = kLayer ? c.in(3).as<W>() : nullptr;
  const W* invs = c.in(kLayer ? 4 : 3).as<W>();
  const auto grid = static_cast<unsigned>(blocks);
  const bool held = TeamHolds(packs);
  if (aligned && held) {
    const int64_t shared = NormGradStream<N, T>::Bytes(addend != nullptr);
    WEFT_RETURN_IF_ERROR(Launch(c, &NormGradStreamKernel<kLayer, T>, {grid, kBlockThreads, shared},
                                dy, x.as<T>(), weight, means, invs, addend, dx, partial, rows, h,
                                team));
  } else {
    const bool in_shared = held || bytes <= kMostShared;
    const auto kernel = held      ? &NormGradKernel<true, 1, kLayer, T>
                        : aligned ? &NormGradKernel<false, N, kLayer, T>
                                  : &NormGradKernel<false, 1, kLayer, T>;
    WEFT_RETURN_IF_ERROR(Launch(c, kernel, {grid, kBlockThreads, in_shared ? bytes : 0}, dy,
                                x.as<T>(), weight, means, invs, addend, dx, partial, rows, h,
                                in_shared, team));
  }
  for (int output = 1; output <= (kLayer ? 2 : 1); ++output) {
    T* to = c.out(output).as<T>();
    if (to == nullptr) continue;
    WEFT_RETURN_IF_ERROR(FoldParts(c, partial + (output - 1) * h, blocks, width, h, W(0), SumOf(),
                                   StoreGrad<T>{to, c.adds(output)}));
  }
  return absl::OkStatus();
}

template <bool kLayer>
absl::Status NormCuda(const KernelContext& c) {
  return DispatchCudaFloat(c.in(0).dtype(), [&](auto t) { return Norm<kLayer, decltype(t)>(c); });
}
template <bool kLayer>
absl::Status NormGradCuda(const KernelContext& c) {
  return DispatchCudaFloat(c.in(0).dtype(),
                           [&](auto t) { return NormGrad<kLayer, decltype(t)>(c); });
}

}  // namespace

void AddNormCuda(KernelTable& kernels) {
  kernels.Add("rms_norm", NormCuda<false>);
  kernels.Add("rms_norm_grad", NormGradCuda<false>);
  kernels.Add("layer_norm", NormCuda<true>);
  kernels.Add("layer_norm_grad", NormGradCuda<true>);
}

}  // namespace weft
