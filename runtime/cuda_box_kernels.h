// The kernels behind CudaBoxCopies and the reductions that NCCL lacks. Plain pointers and strides:
// what a rank prepares for them is in runtime/cuda_box_copies.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "runtime/dtype.h"
#include "runtime/monoid.h"

namespace weft {

// Consecutive positions of a level, from number `begin` on: local indices at the source and the
// target.
struct CudaBoxRun {
  int64_t begin = 0;
  int64_t from = 0;
  int64_t to = 0;
};

// BoxCopy::levels() as the device reads them; passed by value.
struct CudaBoxTable {
  static constexpr int kMostLevels = 8;
  struct Level {
    int64_t count = 0;  // positions
    int64_t from_stride = 0;
    int64_t to_stride = 0;  // both in bytes
    int32_t first_run = 0;
    int32_t runs = 0;
  };
  Level level[kMostLevels];  // outermost first
  int levels = 0;
  int64_t items = 0;                 // product of the counts
  const CudaBoxRun* runs = nullptr;  // device memory, of all levels
};

// All enqueue on `stream` and answer how that went.

// Copies items of `item_bytes` (1, 2, 4, 8 or 16), to which all addresses are aligned.
cudaError_t LaunchBoxCopy(const CudaBoxTable& table, int item_bytes, const void* from, void* to,
                          cudaStream_t stream);
// to = monoid(to, from), items being elements. The pair has passed CheckReducible, as below.
cudaError_t LaunchBoxCombine(const CudaBoxTable& table, DType dtype, Monoid monoid,
                             const void* from, void* to, cudaStream_t stream);
// to = monoid(a, b) over `count` elements in a row; `to` may be one of them.
cudaError_t LaunchCombine(DType dtype, Monoid monoid, const void* a, const void* b, void* to,
                          int64_t count, cudaStream_t stream);
// Has CUDA load all that the three above and LaunchFillIdentity may launch for `dtype`. Otherwise
// it does so at a kernel's first launch, and waits there until the device is idle: which a device
// that waits for another rank may never be.
cudaError_t LoadBoxKernels(DType dtype);
// As ReduceInOrder over `parts` arrays of `count` elements, one after the other. `out` may be one
// of them.
cudaError_t LaunchReduceInOrder(DType dtype, Monoid monoid, const void* parts, int num_parts,
                                void* out, int64_t count, cudaStream_t stream);
// As FillIdentity.
cudaError_t LaunchFillIdentity(DType dtype, Monoid monoid, void* data, int64_t count,
                               cudaStream_t stream);

}  // namespace weft
