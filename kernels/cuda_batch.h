// CudaBatch: the tensors of several calls (BatchedKernel) as the parameter of one launch. Blocks
// are dealt to tensors in order, as many to each as it has tiles.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/cuda_launch.h"
#include "runtime/status.h"

namespace weft {

// Bytes of parameters that every launch may have, and those that CUDA 12.1 and its driver allow.
inline constexpr int kParameterBytes = 4096;
inline constexpr int kLargeParameterBytes = CUDART_VERSION >= 12010 ? 32764 : kParameterBytes;
bool LargeParametersWork();

// `Item` says what a block needs of its tensor. A kernel takes its batch as a
// `const __grid_constant__` parameter, which is looked up where it lies; else each thread would
// copy it.
template <typename Item, int kBytes>
struct CudaBatch {
  static constexpr int kMost =
      (kBytes - 2 * static_cast<int>(alignof(Item))) / static_cast<int>(sizeof(Item) + 4);

  Item items[kMost];
  unsigned begins[kMost];  // the item's first block
  int count;

  // The item to which the block belongs.
  __device__ int Find(unsigned block) const {
    int low = 0, high = count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (begins[middle] <= block) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

// Launches a kernel over items, in as few launches as their number allows. No heap.
template <typename Item, int kBytes>
class CudaBatches {
 public:
  using Batch = CudaBatch<Item, kBytes>;
  static_assert(sizeof(Batch) <= kBytes && Batch::kMost > 0);

  // On the stream of `c`.
  CudaBatches(const KernelContext& c, void (*kernel)(Batch), int threads)
      : c_(c), kernel_(kernel), threads_(threads) {
    batch_.count = 0;
  }
  // Items without blocks are left out. Errors: those of a launch, for which there was no room.
  absl::Status Add(const Item& item, int64_t blocks) {
    if (blocks == 0) return absl::OkStatus();
    constexpr int64_t kMostBlocks = INT32_MAX;
    if (batch_.count == Batch::kMost || blocks_ + blocks > kMostBlocks) {
      WEFT_RETURN_IF_ERROR(Finish());
    }
    batch_.items[batch_.count] = item;
    batch_.begins[batch_.count] = static_cast<unsigned>(blocks_);
    ++batch_.count;
    blocks_ += blocks;
    return absl::OkStatus();
  }
  // Launches what has been added since the last launch.
  absl::Status Finish() {
    const auto grid = static_cast<unsigned>(blocks_);
    const absl::Status status =
        Launch(c_, kernel_, {grid, static_cast<unsigned>(threads_)}, batch_);
    batch_.count = 0;
    blocks_ = 0;
    return status;
  }

 private:
  const KernelContext& c_;
  void (*const kernel_)(Batch);
  const int threads_;
  int64_t blocks_ = 0;
  Batch batch_;
};

// f(run) for each run of calls of which same(first of the run, call) holds.
template <typename Same, typename F>
absl::Status ForRuns(absl::Span<const KernelContext* const> calls, Same&& same, F&& f) {
  size_t begin = 0;
  for (size_t i = 1; i <= calls.size(); ++i) {
    if (i < calls.size() && same(*calls[begin], *calls[i])) continue;
    WEFT_RETURN_IF_ERROR(f(calls.subspan(begin, i - begin)));
    begin = i;
  }
  return absl::OkStatus();
}

// The kernel that makes calls one by one, as a kernel with a batched form registers it.
template <BatchedKernel batched>
absl::Status OneOf(const KernelContext& c) {
  const KernelContext* const one = &c;
  return batched({&one, 1});
}

}  // namespace weft
