// cuDNN's attention, behind an interface that needs none of its headers.
#pragma once

#include <cuda_runtime.h>

#include <compare>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "runtime/dtype.h"

namespace weft {

class CudaHandles;

// What a plan is made for: q [batch,s,heads,d], k [batch,t,kv_heads,d], v [batch,t,kv_heads,dv], of
// one of the 16-bit floats; causal masks start at the first query and key. What a plan reads may be some rows of longer
// tensors, whose batch entries have s_stride and t_stride rows; what it makes is dense.
struct AttentionShape {
  DType dtype;
  int64_t batch, s, t, heads, kv_heads, d, dv;
  int64_t s_stride, t_stride;
  int64_t window;  // keys that a query sees at most, its own the last; 0: all
  bool causal, backward, deterministic;
  float scale;
  auto operator<=>(const AttentionShape&) const = default;
};

// lse is [batch,heads,s] in f32. The gradients are nullptr forward.
struct AttentionPointers {
  const void *q, *k, *v;
  void* o;
  void* lse;
  const void* doo;
  void *dq, *dk, *dv;
};

// Used by the thread that fires the rank's actors alone.
class AttentionPlans {
 public:
  // nullptr where the build has no cuDNN frontend, or the machine's library does not start.
  static absl::StatusOr<std::unique_ptr<AttentionPlans>> Make();
  virtual ~AttentionPlans() = default;

  // Enqueues the shape's plan on the stream and answers true; false if cuDNN has none for it.
  // Builds the plan at the first call of a shape, which takes up to seconds.
  virtual absl::StatusOr<bool> Run(CudaHandles& handles, const AttentionShape& shape,
                                   const AttentionPointers& pointers, cudaStream_t stream) = 0;
};

}  // namespace weft
