// Collectives of a CUDA build without NCCL: there are none.
#include "runtime/cuda_collectives.h"

namespace weft {
namespace {

absl::Status Absent() {
  return absl::UnimplementedError(
      "this weft is built without NCCL, so GPUs cannot exchange data; install NCCL (libnccl-dev) "
      "and build again, or use one rank");
}

class NoMessenger final : public DeviceMessenger {
 public:
  int Add(Exchange) override { return exchanges_++; }
  absl::Status Connect() override { return exchanges_ == 0 ? absl::OkStatus() : Absent(); }
  absl::Status Run(int, int64_t, void*) override { return Absent(); }

 private:
  int exchanges_ = 0;
};

class NoCollectives final : public CudaCollectives {
 public:
  absl::StatusOr<std::unique_ptr<Communicator>> MakeCommunicator(Transport&, std::vector<int>,
                                                                 uint32_t) override {
    return Absent();
  }
  std::unique_ptr<DeviceMessenger> MakeMessenger(Transport&) override {
    return std::make_unique<NoMessenger>();
  }
};

}  // namespace

std::unique_ptr<CudaCollectives> MakeCudaCollectives(Device&, int, CudaMonitor&) {
  return std::make_unique<NoCollectives>();
}

void SetNcclDefaults() {}

std::string NcclVersion() { return "not in this build"; }

}  // namespace weft
