// The CUDA kernel of every op, for whoever fills a kernel table. Only CUDA builds have this.
#pragma once

#include "runtime/kernel.h"

namespace weft {

// Adds the CUDA kernel of every op of the registry, under the op's name. Their contexts must name a
// stream (native_stream) and the handles of its device (MakeCudaHandles).
void FillCudaKernels(KernelTable& kernels);

// One function per source file, each called once by FillCudaKernels.
void AddAdamWCuda(KernelTable& kernels);
void AddAttentionBlockCuda(KernelTable& kernels);
void AddAttentionCuda(KernelTable& kernels);
void AddAttentionDeltaCuda(KernelTable& kernels);
void AddAttentionSinkCuda(KernelTable& kernels);
void AddCastCuda(KernelTable& kernels);
void AddConv2dCuda(KernelTable& kernels);
void AddEinsumCuda(KernelTable& kernels);
void AddEmbeddingCuda(KernelTable& kernels);
void AddHeadCrossEntropyCuda(KernelTable& kernels);
void AddHeadCrossEntropyWithGradCuda(KernelTable& kernels);
void AddLossScaleUpdateCuda(KernelTable& kernels);
void AddMovementCuda(KernelTable& kernels);
void AddNormCuda(KernelTable& kernels);
void AddOptimizersCuda(KernelTable& kernels);
void AddPointwiseCuda(KernelTable& kernels);
void AddRandomCuda(KernelTable& kernels);
void AddReduceCuda(KernelTable& kernels);
void AddRopeCuda(KernelTable& kernels);
void AddSoftmaxCuda(KernelTable& kernels);
void AddSumsCuda(KernelTable& kernels);
void AddTokenLossCuda(KernelTable& kernels);

}  // namespace weft
