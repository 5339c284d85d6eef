#include "runtime/cuda_nccl_abort.h"

#include <cuda_runtime.h>

#include <chrono>

#include "runtime/logging.h"

namespace weft {
namespace {

// NCCL notices within milliseconds; giving memory back takes some seconds on a busy machine.
constexpr std::chrono::seconds kPatience{20};

}  // namespace

NcclAbort::NcclAbort(ncclComm_t communicator, int device)
    : ended_(std::make_shared<Progress>()), thread_([communicator, device, ended = ended_] {
        (void)cudaSetDevice(device);
        (void)ncclCommAbort(communicator);
        ended->Advance(1);
      }) {}

NcclAbort::~NcclAbort() {
  if (ended_->AwaitFor(1, kPatience)) {
    thread_.join();
    return;
  }
  LOG(WARNING) << "an NCCL communicator does not end " << kPatience.count()
               << " s after it was aborted; going on without it";
  thread_.detach();
}

}  // namespace weft
