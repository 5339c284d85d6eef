// The CPU kernels of conv2d and its gradients.
#pragma once

#include "graph/op_def.h"
#include "kernels/conv2d_geometry.h"
#include "runtime/kernel.h"

namespace weft {

// f32, bf16 and f16 by oneDNN (f16 widened to f32, bf16 too where the CPU has no AVX-512), f64 by
// plain loops.
absl::Status Conv2dCpu(const KernelContext& k, ConvProduct product);
int64_t Conv2dWorkspace(const CostContext& c, ConvProduct product);

// The geometry from the shapes of the two inputs and the result of a product.
ConvGeometry ConvGeometryOf(ConvProduct product, absl::Span<const int64_t> a,
                            absl::Span<const int64_t> b, absl::Span<const int64_t> c,
                            const Attrs& attrs);

}  // namespace weft
