#include "kernels/single_thread.h"

#include <omp.h>

namespace weft {

void ChooseOneThread() {
  thread_local bool chosen = false;
  if (!chosen) omp_set_num_threads(1);
  chosen = true;
}

}  // namespace weft
