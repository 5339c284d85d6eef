// The matrix product of CUDA kernels: cuBLASLt where it has an algorithm, else a plain kernel.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda_handles.h"
#include "runtime/dtype.h"
#include "runtime/kernel.h"

namespace weft {

struct MatmulSize {
  int64_t m, n, k;
  int64_t batch = 1;
};

// A matrix, or `batch` of them; strides in elements. Of row and column stride one is 1.
template <typename Pointer>
struct MatmulViewOf {
  Pointer data;
  DType dtype;
  int64_t row, column;
  int64_t batch = 0;
};
using MatmulView = MatmulViewOf<const void*>;
using MatmulTarget = MatmulViewOf<void*>;

// c = a b, or c = a b + addend, which has the dtype and strides of c and may be c itself. a and b
// have one float dtype; c has it too, or is f32 for bf16 and f16. Sums are formed in f32 for these
// and f32 (whose operands stay f32 unless the handles allow tf32). No extent may be 0.
// `workspace` may be nullptr. The algorithm is that of CudaHandles::algorithms or else cuBLASLt's
// first guess, looked up at the first product of its kind and kept in the handles.
absl::Status MatmulCuda(const KernelContext& context, const MatmulSize& size, const MatmulView& a,
                        const MatmulView& b, const void* addend, const MatmulTarget& c,
                        void* workspace, int64_t workspace_bytes);

// What measures asks of cuBLASLt, for a product that MatmulCuda would do with the same arguments:
// the first so many of its algorithms, best guess first, which form sums as exactly as the guess.
absl::StatusOr<std::vector<MatmulPlan>> MatmulCandidates(const KernelContext& context,
                                                         const MatmulSize& size,
                                                         const MatmulView& a, const MatmulView& b,
                                                         const void* addend, const MatmulTarget& c,
                                                         int64_t workspace_bytes, int count);
// Whether it takes this algorithm.
absl::StatusOr<bool> MatmulAccepts(const KernelContext& context, const MatmulSize& size,
                                   const MatmulView& a, const MatmulView& b, const void* addend,
                                   const MatmulTarget& c, int64_t workspace_bytes,
                                   const ProductAlgorithm& algorithm);

// The same by a plain kernel, for what cuBLASLt refuses.
absl::Status MatmulFallback(const KernelContext& context, const MatmulSize& size,
                            const MatmulView& a, const MatmulView& b, const void* addend,
                            const MatmulTarget& c);

}  // namespace weft
