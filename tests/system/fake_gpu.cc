#include "tests/system/fake_gpu.h"

#include <utility>

#include "runtime/collective_bytes.h"
#include "runtime/cpu_communicator.h"
#include "runtime/status.h"

namespace weft::testing {
namespace {

// The CPU's collectives, called when the stream comes to them. A failure is in the transport then.
class LaterCommunicator final : public Communicator {
 public:
  LaterCommunicator(std::unique_ptr<Communicator> cpu, std::vector<int> ranks, int rank)
      : Communicator(std::move(ranks), rank), cpu_(std::move(cpu)) {}

  absl::Status Reserve(int64_t count, DType dtype, Monoid monoid) override {
    return cpu_->Reserve(count, dtype, monoid);
  }
  absl::Status AllReduce(const void* in, void* out, int64_t count, DType dtype,
                         Monoid monoid) override {
    CountSent(AllReduceBytesSent(rank(), size(), count, dtype));
    FakeGpuNative::Of(native_stream())
        .Enqueue([cpu = cpu_.get(), workspace = lent(), in, out, count, dtype, monoid] {
          cpu->LendWorkspace(workspace);
          cpu->AllReduce(in, out, count, dtype, monoid).IgnoreError();
        });
    return absl::OkStatus();
  }
  absl::Status ReduceScatter(const void*, void*, absl::Span<const int64_t>, DType,
                             Monoid) override {
    return NotBuilt();
  }
  absl::Status AllGather(const void*, void*, absl::Span<const int64_t>, DType) override {
    return NotBuilt();
  }
  absl::Status AllToAll(const void*, Parts, void*, Parts, DType) override { return NotBuilt(); }
  absl::Status Broadcast(void*, int64_t, DType, int) override { return NotBuilt(); }

 private:
  static absl::Status NotBuilt() {
    return absl::UnimplementedError("no plan has this collective as an actor");
  }

  const std::unique_ptr<Communicator> cpu_;
};

}  // namespace

FakeGpu::FakeGpu(FakeGpuHost& host, int rank)
    : Device("fake GPU"), host_(host), rank_(rank), queue_(host), loader_(host) {
  auto state = std::make_unique<FakeGpuState>();
  FakeGpuState* const shared = state.get();
  set_state(std::move(state), [shared] { return shared->TakeFault(); });
}

absl::StatusOr<std::unique_ptr<Stream>> FakeGpu::MakeStream(const std::string& name, int64_t,
                                                            Work) {
  constexpr int kMostStreams = 16;
  const auto seed = static_cast<uint64_t>(rank_ * kMostStreams + ++streams_);
  return std::make_unique<FakeGpuStream>(name,
                                         std::make_unique<FakeGpuNative>(host_, loader_, seed));
}

absl::StatusOr<std::unique_ptr<Communicator>> FakeGpu::MakeCommunicator(Transport& transport,
                                                                        std::vector<int> ranks,
                                                                        uint32_t tag) {
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> cpu,
                        CpuCommunicator::Create(transport, ranks, tag));
  const int rank = cpu->rank();
  return std::make_unique<LaterCommunicator>(std::move(cpu), std::move(ranks), rank);
}

}  // namespace weft::testing
