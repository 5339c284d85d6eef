// Starts CUDA kernels on the stream of a kernel's context. All device code of weft's kernels is
// started here, so that tests can put a machine without a GPU in its place.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/cuda_status.h"
#include "runtime/kernel.h"

namespace weft {

inline cudaStream_t StreamOf(const KernelContext& c) {
  return static_cast<cudaStream_t>(c.native_stream);
}

struct LaunchShape {
  dim3 grid;
  dim3 block;
  int64_t shared_bytes = 0;  // dynamic
};

// The block's dynamic shared memory, aligned to 16 bytes.
template <typename T>
__device__ inline T* DynamicShared() {
  extern __shared__ __align__(16) unsigned char weft_dynamic_shared[];
  return reinterpret_cast<T*>(weft_dynamic_shared);
}

// Whether kernels are to name their matrix products instead of doing anything
// (CudaHandles::set_listing).
bool OnlyLists(const KernelContext& c);

// Enqueues kernel(args...); an empty grid is nothing to do. Errors: those of the launch, not of
// what the kernel does later.
template <typename... Params, typename... Args>
absl::Status Launch(const KernelContext& c, void (*kernel)(Params...), const LaunchShape& shape,
                    Args&&... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return absl::OkStatus();
  if (OnlyLists(c)) return absl::OkStatus();
  const void* function = reinterpret_cast<const void*>(kernel);
  if (shape.shared_bytes > 48 * 1024) {
    const cudaError_t error =
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shape.shared_bytes));
    if (error != cudaSuccess) {
      return CudaStatus(error, absl::StrCat("kernel needs ", shape.shared_bytes,
                                            " bytes of shared memory in a block"));
    }
  }
  std::tuple<Params...> values(std::forward<Args>(args)...);
  const cudaError_t error = std::apply(
      [&](auto&... value) {
        void* pointers[] = {static_cast<void*>(&value)..., nullptr};
        return cudaLaunchKernel(function, shape.grid, shape.block, pointers,
                                static_cast<size_t>(shape.shared_bytes), StreamOf(c));
      },
      values);
  return CudaStatus(error, "kernel launch");
}

// Threads of a block in kernels that have no reason to choose another number.
inline constexpr int kBlockThreads = 256;

// Blocks for loops over `work` items that step by the whole grid: one item a thread, at most 16
// blocks a multiprocessor of the largest GPUs. 0 if there is no work.
inline unsigned GridFor(int64_t work, int threads = kBlockThreads) {
  return static_cast<unsigned>(std::min<int64_t>((work + threads - 1) / threads, 132 * 16));
}

// Blocks for `work` items, `items` of them a block, each block's once.
inline unsigned GridForAll(int64_t work, int64_t items) {
  return static_cast<unsigned>((work + items - 1) / items);
}

}  // namespace weft
