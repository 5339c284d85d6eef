// How kernels on the device report a bad index to the host.
#pragma once

#include "kernels/cuda_handles.h"

namespace weft {

// Called by any thread for an index that is not below `limit`; the first one counts.
__device__ inline void ReportFault(CudaFault* fault, CudaFault::Op op, int index, int64_t limit) {
  if (atomicCAS(&fault->op, 0, static_cast<int>(op)) != 0) return;
  fault->index = index;
  fault->limit = limit;
}

}  // namespace weft
