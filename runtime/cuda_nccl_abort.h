// NcclAbort: the end of an NCCL communicator by force, on a thread of its own. ncclCommAbort tells
// the communicator's kernels to end, and then gives memory back, which waits for all that the
// device runs. Kernels of another communicator spin until that one is aborted too: no abort may
// keep the next from beginning, nor the monitor from its work.
#pragma once

#include <nccl.h>

#include <memory>
#include <thread>

#include "runtime/progress.h"

namespace weft {

class NcclAbort {
 public:
  // Begins, and returns at once. `communicator`, of GPU `device`, belongs to it from here on.
  NcclAbort(ncclComm_t communicator, int device);
  // Waits until it has ended; past some seconds it is left to itself, with a line in the log.
  // Whoever aborts has failed, and must come out to say why.
  ~NcclAbort();
  NcclAbort(const NcclAbort&) = delete;
  NcclAbort& operator=(const NcclAbort&) = delete;

 private:
  const std::shared_ptr<Progress> ended_;  // of the thread, which may outlive this
  std::thread thread_;
};

}  // namespace weft
