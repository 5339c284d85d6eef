// oneDNN computes on the thread that calls it. OpenMP's default for a new thread is every core,
// which ranks that are threads of one process would multiply.
#pragma once

namespace weft {

// Called before oneDNN on every thread; cheap after the first time.
void ChooseOneThread();

}  // namespace weft
