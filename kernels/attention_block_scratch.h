// Scratch of attention's blocks on CUDA: what cuDNN makes of a block of 16-bit operands, before it
// is added to what came before. None for other types, which cuDNN does not take.
#pragma once

#include <cstdint>

#include "kernels/attention_geometry.h"
#include "kernels/scratch.h"
#include "runtime/dtype.h"

namespace weft {

// o [batch,rows,heads,dv] in the operands' type, lse [batch,heads,rows] in f32.
struct AttentionBlockScratch {
  AttentionBlockScratch(Scratch& scratch, const AttentionSize& size, DType dtype) {
    if (SizeOf(dtype) != 2) return;
    const int64_t rows = size.batch * size.s * size.heads;
    o = scratch.Take<uint16_t>(rows * size.dv);
    lse = scratch.Take<float>(rows);
  }
  void* o = nullptr;
  float* lse = nullptr;
};

// The gradients in the operands' type, lse [batch,heads,rows] in f32.
struct AttentionBlockGradScratch {
  AttentionBlockGradScratch(Scratch& scratch, const AttentionSize& size, DType dtype) {
    if (SizeOf(dtype) != 2) return;
    const int64_t rows = size.batch * size.s * size.heads;
    const int64_t keys = size.batch * size.t * size.kv_heads;
    dq = scratch.Take<uint16_t>(rows * size.d);
    dk = scratch.Take<uint16_t>(keys * size.d);
    dv = scratch.Take<uint16_t>(keys * size.dv);
    lse = scratch.Take<float>(rows);
  }
  void *dq = nullptr, *dk = nullptr, *dv = nullptr;
  float* lse = nullptr;
};

}  // namespace weft
