// The compile error of a plan that does not fit.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "parallel/plan_memory.h"

namespace weft {

// ResourceExhausted: what the rank needs, what it may have, the largest of `holders`, what helps.
absl::Status OverBudget(int rank, int64_t budget, int64_t arena, int64_t variables,
                        std::vector<Holder> holders);

}  // namespace weft
