// How kernels on the device report a bad index to the host.
#pragma once

#include "kernels/cuda_handles.h"

namespace weft {

// Called by any thread for an index that is not below `limit`; the first one counts.
__device__ inline void ReportFault(CudaFault* fault, CudaFault::Op op, int index, int64_t limit) {
  volatile CudaFault* const record = fault;
  const int round = record->round;
  if (atomicMax(fault->claimed, round) >= round) return;
  record->op = op;
  record->index = index;
  record->limit = limit;
  __threadfence_system();
  record->told = round;
}

}  // namespace weft
