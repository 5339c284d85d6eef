#include "runtime/cpu_device.h"

#include <cstring>
#include <utility>

#include "runtime/cpu_communicator.h"
#include "runtime/cpu_stream.h"

namespace weft {
namespace {

absl::Status Copy(const KernelContext& c) {
  const int64_t bytes = c.out(0).elements() * SizeOf(c.out(0).dtype());
  if (bytes > 0 && c.in(0).data != c.out(0).data) {
    std::memmove(c.out(0).data, c.in(0).data, bytes);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CpuDevice::Write(void* device, const void* host, int64_t bytes) {
  if (bytes > 0) std::memmove(device, host, bytes);
  return absl::OkStatus();
}

absl::Status CpuDevice::Read(void* host, const void* device, int64_t bytes) {
  if (bytes > 0) std::memmove(host, device, bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Stream>> CpuDevice::MakeStream(const std::string& name,
                                                              int64_t capacity, Work) {
  return std::make_unique<CpuStream>(name, capacity);
}

absl::StatusOr<std::unique_ptr<Communicator>> CpuDevice::MakeCommunicator(Transport& transport,
                                                                          std::vector<int> ranks,
                                                                          uint32_t tag) {
  return CpuCommunicator::Create(transport, std::move(ranks), tag);
}

Kernel CpuDevice::copy_kernel() const { return &Copy; }

}  // namespace weft
