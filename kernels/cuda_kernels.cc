#include "kernels/cuda_kernels.h"

namespace weft {

void FillCudaKernels(KernelTable& kernels) {
  AddAdamWCuda(kernels);
  AddAttentionBlockCuda(kernels);
  AddAttentionCuda(kernels);
  AddAttentionDeltaCuda(kernels);
  AddAttentionSinkCuda(kernels);
  AddCastCuda(kernels);
  AddConv2dCuda(kernels);
  AddEinsumCuda(kernels);
  AddEmbeddingCuda(kernels);
  AddHeadCrossEntropyCuda(kernels);
  AddHeadCrossEntropyWithGradCuda(kernels);
  AddLossScaleUpdateCuda(kernels);
  AddMovementCuda(kernels);
  AddNormCuda(kernels);
  AddOptimizersCuda(kernels);
  AddPointwiseCuda(kernels);
  AddRandomCuda(kernels);
  AddReduceCuda(kernels);
  AddRopeCuda(kernels);
  AddSoftmaxCuda(kernels);
  AddSumsCuda(kernels);
  AddTokenLossCuda(kernels);
}

}  // namespace weft
