// The first contents of a variable, made by several threads.
#pragma once

#include "absl/status/status.h"
#include "runtime/attrs.h"
#include "runtime/kernel.h"

namespace weft {

// Calls `kernel`, which has no inputs and makes each element by its logical index alone, for parts
// of `output` (host memory) side by side: the contents do not depend on `threads`. Small ones take
// one thread. Errors: the kernel's, of the first part that fails.
absl::Status MakeContents(Kernel kernel, const Attrs& attrs, const Operand& output, int threads);

}  // namespace weft
