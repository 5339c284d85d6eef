// Convolutions by oneDNN: one primitive per geometry and thread, in whatever memory formats oneDNN
// likes best, with copies from and to the plain ones in the caller's workspace.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/conv2d_geometry.h"
#include "kernels/scratch.h"

namespace weft {

// Bytes that RunConv takes from its scratch, on this CPU. Any thread.
absl::StatusOr<int64_t> ConvWorkspace(const ConvGeometry& g, ConvProduct product, bool bf16);

// c = product(a, b), dense, each f32, or with `bf16` bf16 but for a weight gradient, which is f32.
// The geometry is not empty. Internal if oneDNN refuses.
absl::Status RunConv(const ConvGeometry& g, ConvProduct product, bool bf16, const void* a,
                     const void* b, void* c, Scratch& scratch);

}  // namespace weft
