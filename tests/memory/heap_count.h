// What C++ code of this process takes from the heap. The binary's operator new counts, oneDNN's own
// included, unless the thread is within a call of oneDNN.
#pragma once

#include <cstdint>

namespace weft::testing {

// Allocations of all threads since counting was last turned on, calls of oneDNN left out.
void CountAllocations(bool on);
int64_t AllocationsCounted();
// Bytes held through operator new, by all threads.
int64_t HeapBytes();
// Calls of dnnl_sgemm so far.
int64_t ProductsSeen();

}  // namespace weft::testing
