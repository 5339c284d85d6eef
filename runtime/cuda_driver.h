// What weft takes from CUDA's driver itself: memory operations of streams, and where an allocation
// begins. Found at run time, so that nothing links the driver. Any thread; errors name the call.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weft {

// Unimplemented where the driver is too old for the functions below.
absl::Status CheckCudaDriver();

// Once the stream comes to it, writes `value` to `address`, device or mapped host memory, a peer's
// too; what the stream did before is visible to who sees the value. Takes no multiprocessor.
absl::Status WriteOnStream(cudaStream_t stream, void* address, int64_t value);
// The stream goes on once the 8 bytes at `address`, memory of its own device, are at least `value`.
absl::Status AwaitOnStream(cudaStream_t stream, void* address, int64_t value);

struct CudaAllocation {
  char* address = nullptr;
  int64_t bytes = 0;
};
// The allocation in which `address` lies.
absl::StatusOr<CudaAllocation> CudaAllocationOf(const void* address);

}  // namespace weft
