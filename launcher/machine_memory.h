// How much a job may take, asked before memory is taken: afterwards the kernel would kill ranks
// without a word.
#pragma once

#include <cstdint>

namespace weft {

// Bytes of memory that this process may use: the machine's, or less where a control group says so.
int64_t MachineMemoryBytes();

}  // namespace weft
