// CudaCollectives: what the GPUs of several ranks do together. By NCCL; a build without it has
// cuda_nccl_absent.cc in its place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/communicator.h"
#include "runtime/cuda_monitor.h"
#include "runtime/device.h"
#include "runtime/transport.h"

namespace weft {

// Owned by a device, whose arguments outlive it. As Device and DeviceQueue say; groups of the same
// ranks share one NCCL communicator, kept until this goes.
class CudaCollectives {
 public:
  virtual ~CudaCollectives() = default;
  virtual absl::StatusOr<std::unique_ptr<Communicator>> MakeCommunicator(Transport& transport,
                                                                         std::vector<int> ranks,
                                                                         uint32_t tag) = 0;
  virtual std::unique_ptr<DeviceMessenger> MakeMessenger(Transport& transport) = 0;
};

std::unique_ptr<CudaCollectives> MakeCudaCollectives(Device& device, int ordinal,
                                                     CudaMonitor& monitor);

// Sets NCCL's variables to what weft needs, unless the environment says otherwise. Once, before the
// process has threads that read the environment.
void SetNcclDefaults();

// "2.28.9", or "not in this build".
std::string NcclVersion();

}  // namespace weft
