#include "kernels/cuda_batch.h"

namespace weft {

bool LargeParametersWork() {
  static const bool work = [] {
    int driver = 0;
    return cudaDriverGetVersion(&driver) == cudaSuccess && driver >= 12010;
  }();
  return work;
}

}  // namespace weft
