// token_loss and its gradient on CUDA.
#include "kernels/cuda_block.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"

namespace weft {
namespace {

constexpr int kSumThreads = 1024;

// One block: the order of the sum is fixed, and tokens are few beside what made their losses.
template <typename W>
__global__ void __launch_bounds__(kSumThreads)
    TokenLossKernel(const W* lse, const W* logit, const int32_t* targets, const W* scale, int64_t n,
                    W* loss) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    if (targets[i] >= 0) sum += static_cast<double>(lse[i]) - static_cast<double>(logit[i]);
  }
  sum = BlockSum(sum);
  if (threadIdx.x == 0) *loss = static_cast<W>(sum * static_cast<double>(*scale));
}

template <typename W>
__global__ void __launch_bounds__(kBlockThreads)
    TokenLossGradKernel(const W* dloss, const int32_t* targets, const W* scale, int64_t n, W* dlse,
                        W* dlogit) {
  const W factor = *dloss * *scale;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    const W d = targets[i] >= 0 ? factor : W(0);
    if (dlse != nullptr) dlse[i] = d;
    if (dlogit != nullptr) dlogit[i] = -d;
  }
}

template <typename W>
absl::Status TokenLoss(const KernelContext& c) {
  return Launch(c, &TokenLossKernel<W>, {1, kSumThreads}, c.in(0).as<W>(), c.in(1).as<W>(),
                c.in(2).as<int32_t>(), c.in(3).as<W>(), c.in(2).elements(), c.out(0).as<W>());
}

template <typename W>
absl::Status TokenLossGrad(const KernelContext& c) {
  const int64_t n = c.in(1).elements();
  return Launch(c, &TokenLossGradKernel<W>, {GridFor(n), kBlockThreads}, c.in(0).as<W>(),
                c.in(1).as<int32_t>(), c.in(2).as<W>(), n, c.out(0).as<W>(), c.out(1).as<W>());
}

absl::Status TokenLossCuda(const KernelContext& c) {
  return c.in(0).dtype() == DType::kF64 ? TokenLoss<double>(c) : TokenLoss<float>(c);
}

absl::Status TokenLossGradCuda(const KernelContext& c) {
  return c.in(0).dtype() == DType::kF64 ? TokenLossGrad<double>(c) : TokenLossGrad<float>(c);
}

}  // namespace

void AddTokenLossCuda(KernelTable& kernels) {
  kernels.Add("token_loss", TokenLossCuda);
  kernels.Add("token_loss_grad", TokenLossGradCuda);
}

}  // namespace weft
