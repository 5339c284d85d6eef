// Limits of what the compiler may convert on its own: a user who says how values lie may want to
// hear of every conversion that this does not cover.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "parallel/pass.h"

namespace weft {

struct ConversionLimits {
  // Refuses conversions that send bytes, except those that an annotation asks for and those that
  // complete a partial value, which the op that makes it implies.
  bool forbid = false;
  int64_t bytes = 0;  // most that all conversions of a step may send, over all ranks; 0: any
};

// FailedPrecondition with a list of the conversions that are too many (value, reader, layouts, how,
// bytes and seconds a step), the largest first.
absl::Status CheckConversions(const std::vector<Conversion>& conversions, int microbatches,
                              const ConversionLimits& limits);

}  // namespace weft
