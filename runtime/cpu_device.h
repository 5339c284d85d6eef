// CpuDevice: the host itself. Memory is the host's, streams are worker threads, collectives go over
// the transport.
#pragma once

#include "runtime/device.h"

namespace weft {

// Stateless; any number of ranks and threads may share one.
class CpuDevice : public Device {
 public:
  CpuDevice() : Device("CPU") {}

  absl::StatusOr<Arena> Allocate(int64_t bytes) override { return Arena::Allocate(bytes); }
  absl::StatusOr<Arena> AllocateStaging(int64_t bytes) override { return Arena::Allocate(bytes); }
  absl::Status Write(void* device, const void* host, int64_t bytes) override;
  absl::Status Read(void* host, const void* device, int64_t bytes) override;
  absl::StatusOr<std::unique_ptr<Stream>> MakeStream(const std::string& name, int64_t capacity,
                                                     Work work) override;
  absl::StatusOr<std::unique_ptr<Communicator>> MakeCommunicator(Transport& transport,
                                                                 std::vector<int> ranks,
                                                                 uint32_t tag) override;
  Kernel copy_kernel() const override;
};

}  // namespace weft
