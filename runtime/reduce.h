// The arithmetic of CPU collectives: combines the ranks' contributions to a block in one pass and
// in one fixed order, so that a sum has the same bits on every rank, in every run, and whichever
// algorithm moved the bytes.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "runtime/dtype.h"
#include "runtime/monoid.h"

namespace weft {

// OK if values of `dtype` combine under `monoid`; InvalidArgument for bool sums and for logaddexp
// of what is not floating point.
absl::Status CheckReducible(DType dtype, Monoid monoid);

// out[i] = m(...m(m(sources[0][i], sources[1][i]), sources[2][i])..., from left to right. bf16 and
// f16 accumulate in fp32 and round once at the end; integers wrap; max of bool is "or"; max hands
// NaN on. `out` may be one of the sources, but must not overlap one otherwise. The pair has passed
// CheckReducible. Any thread.
void ReduceInOrder(DType dtype, Monoid monoid, absl::Span<const void* const> sources, void* out,
                   int64_t count);

}  // namespace weft
