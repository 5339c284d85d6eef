// NcclMessenger: exchanges as NCCL's sends and receives, in the group of all ranks.
#pragma once

#include <functional>
#include <vector>

#include "runtime/cuda_nccl_group.h"
#include "runtime/device.h"
#include "runtime/transport.h"

namespace weft {

class NcclMessenger final : public DeviceMessenger {
 public:
  // All outlive it. `group` answers the group of all ranks of the transport, which make it together
  // at the first call.
  NcclMessenger(Transport& transport, Device& device,
                std::function<absl::StatusOr<NcclGroup*>()> group)
      : transport_(transport), device_(device), make_group_(std::move(group)) {}

  int Add(Exchange exchange) override;
  absl::Status Connect() override;
  absl::Status Run(int exchange, int64_t firing, void* native_stream) override;

 private:
  absl::Status TryConnect();

  Transport& transport_;
  Device& device_;
  const std::function<absl::StatusOr<NcclGroup*>()> make_group_;
  NcclGroup* group_ = nullptr;
  std::vector<Exchange> exchanges_;
};

}  // namespace weft
