// How groups of GPU ranks begin, fail and end. Most needs two GPUs: NCCL takes one rank a GPU.
#include <cuda_runtime.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "runtime/cuda_collectives.h"
#include "runtime/cuda_device.h"
#include "runtime/cuda_monitor.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

using Clock = std::chrono::steady_clock;

// Failures are heard of within some hundredths of a second; the rest is for a busy machine.
constexpr std::chrono::seconds kSoon{10};

std::string WantOfGpus() {
  const absl::StatusOr<int> count = CountCudaDevices();
  if (count.ok() && *count >= 2) return "";
  return absl::StrCat("two ranks need two GPUs; this process sees ", count.ok() ? *count : 0);
}

#define WEFT_NEED_TWO_GPUS() \
  if (const std::string want = WantOfGpus(); !want.empty()) GTEST_SKIP() << want

bool Contains(const absl::Status& status, const char* text) {
  return status.message().find(text) != std::string::npos;
}

std::unique_ptr<CudaDevice> MustMake(int ordinal) {
  auto device = CudaDevice::Make(ordinal);
  EXPECT_EQ(device.status(), absl::OkStatus());
  return device.ok() ? *std::move(device) : nullptr;
}

// A communicator with a stream and memory of its own.
struct Member {
  std::unique_ptr<Communicator> communicator;
  std::unique_ptr<Stream> stream;
  Arena memory;

  static constexpr int64_t kCount = 1 << 18;

  absl::Status Make(CudaDevice& device, Transport& transport, std::vector<int> ranks,
                    uint32_t tag) {
    auto made = device.MakeCommunicator(transport, std::move(ranks), tag);
    auto made_stream = device.MakeStream("s", 10, Device::Work::kTransfer);
    auto made_memory = device.Allocate(4 * kCount);
    for (const absl::Status& status : {made.status(), made_stream.status(), made_memory.status()}) {
      if (!status.ok()) return status;
    }
    communicator = *std::move(made);
    stream = *std::move(made_stream);
    memory = *std::move(made_memory);
    communicator->RunOn(stream->native_stream());
    return absl::OkStatus();
  }
  absl::Status AllReduce() {
    return communicator->AllReduce(memory.data(), memory.data(), kCount, DType::kF32, Monoid::kSum);
  }
  cudaError_t Await() {
    return cudaStreamSynchronize(static_cast<cudaStream_t>(stream->native_stream()));
  }
};

// A device that has no memory for what is asked of it from some moment on.
class PoorDevice final : public Device {
 public:
  explicit PoorDevice(CudaDevice& inner) : Device(inner.name()), inner_(inner) {}
  void Impoverish() { poor_ = true; }

  absl::StatusOr<Arena> Allocate(int64_t bytes) override {
    if (poor_) return absl::ResourceExhaustedError("nothing is left");
    return inner_.Allocate(bytes);
  }
  absl::StatusOr<Arena> AllocateStaging(int64_t bytes) override {
    return inner_.AllocateStaging(bytes);
  }
  absl::Status Write(void* device, const void* host, int64_t bytes) override {
    return inner_.Write(device, host, bytes);
  }
  absl::Status Read(void* host, const void* device, int64_t bytes) override {
    return inner_.Read(host, device, bytes);
  }
  absl::StatusOr<std::unique_ptr<Stream>> MakeStream(const std::string& name, int64_t capacity,
                                                     Work work) override {
    return inner_.MakeStream(name, capacity, work);
  }
  absl::StatusOr<std::unique_ptr<Communicator>> MakeCommunicator(Transport& transport,
                                                                 std::vector<int> ranks,
                                                                 uint32_t tag) override {
    return inner_.MakeCommunicator(transport, std::move(ranks), tag);
  }
  Kernel copy_kernel() const override { return inner_.copy_kernel(); }

 private:
  CudaDevice& inner_;
  bool poor_ = false;
};

// Kernels of two communicators spin on rank 0, for a peer that does not come. To abort one waits
// for the other's kernel.
TEST(CudaNcclGroup, TwoGroupsAreAbortedAtOnce) {
  WEFT_NEED_TWO_GPUS();
  testing::RunRanks(2, {}, [](Transport& t) {
    const auto device = MustMake(t.rank());
    ASSERT_NE(device, nullptr);
    Member first, second;
    // Other lists of ranks have other NCCL communicators.
    ASSERT_EQ(first.Make(*device, t, {0, 1}, 1), absl::OkStatus());
    ASSERT_EQ(second.Make(*device, t, {1, 0}, 2), absl::OkStatus());
    if (t.rank() == 1) {
      Request request;  // that never comes: it hangs until the network ends
      t.Receive(0, 3, nullptr, 0, &request);
      EXPECT_TRUE(Contains(t.Wait(request), "rank 0 failed: no progress"));
      return;
    }
    EXPECT_EQ(first.AllReduce(), absl::OkStatus());
    EXPECT_EQ(second.AllReduce(), absl::OkStatus());
    const auto begin = Clock::now();
    t.Poison(absl::DeadlineExceededError("no progress"));
    EXPECT_EQ(first.Await(), cudaSuccess);
    EXPECT_EQ(second.Await(), cudaSuccess);
    EXPECT_LT(Clock::now() - begin, kSoon);
    for (Member* member : {&first, &second}) {
      const absl::Status after = member->AllReduce();
      EXPECT_EQ(after.code(), absl::StatusCode::kDeadlineExceeded);
      EXPECT_TRUE(Contains(after, "rank 0 failed: no progress")) << after;
    }
  });
}

// Rank 1 has not the memory for its first messages: rank 0 hears that, and waits for none.
TEST(CudaNcclGroup, RankThatCannotConnectIsHeardOf) {
  WEFT_NEED_TWO_GPUS();
  testing::RunRanks(2, {}, [](Transport& t) {
    const auto device = MustMake(t.rank());
    ASSERT_NE(device, nullptr);
    PoorDevice poor(*device);
    CudaMonitor monitor(t.rank());
    const auto collectives = MakeCudaCollectives(poor, t.rank(), monitor);
    if (t.rank() == 1) poor.Impoverish();
    const auto begin = Clock::now();
    const auto messenger = collectives->MakeMessenger(t);
    const DeviceMessenger::Message never{1 - t.rank(), 8, {&poor}};
    messenger->Add({.tag = 1, .sends = {never}, .receives = {never}});
    const absl::Status status = messenger->Connect();
    EXPECT_TRUE(Contains(status, "nothing is left")) << status;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(Contains(t.status(), "rank 1 failed: nothing is left")) << t.status();
    EXPECT_LT(Clock::now() - begin, 3 * kSoon);  // NCCL has begun in that time
  });
}

// Groups end while all is well, and others of the same ranks come after them.
TEST(CudaNcclGroup, EndsInGoodOrder) {
  WEFT_NEED_TWO_GPUS();
  testing::RunRanks(2, {}, [](Transport& t) {
    for (uint32_t round = 0; round < 3; ++round) {
      const auto device = MustMake(t.rank());
      ASSERT_NE(device, nullptr);
      Member first, second;
      ASSERT_EQ(first.Make(*device, t, {0, 1}, 1), absl::OkStatus());
      ASSERT_EQ(second.Make(*device, t, {1, 0}, 2), absl::OkStatus());
      std::vector<float> values(Member::kCount, static_cast<float>(t.rank() + 1));
      ASSERT_EQ(device->Write(first.memory.data(), values.data(), 4 * Member::kCount),
                absl::OkStatus());
      EXPECT_EQ(first.AllReduce(), absl::OkStatus());
      EXPECT_EQ(second.AllReduce(), absl::OkStatus());
      EXPECT_EQ(first.Await(), cudaSuccess);
      EXPECT_EQ(second.Await(), cudaSuccess);
      ASSERT_EQ(device->Read(values.data(), first.memory.data(), 4 * Member::kCount),
                absl::OkStatus());
      EXPECT_EQ(values, std::vector<float>(Member::kCount, 3));
    }
    EXPECT_EQ(t.status(), absl::OkStatus());
  });
}

// One rank is at its group's end already when the other fails: it comes out.
TEST(CudaNcclGroup, EndDoesNotWaitForARankThatFails) {
  WEFT_NEED_TWO_GPUS();
  testing::RunRanks(2, {}, [](Transport& t) {
    auto device = MustMake(t.rank());
    ASSERT_NE(device, nullptr);
    Member member;
    ASSERT_EQ(member.Make(*device, t, {0, 1}, 1), absl::OkStatus());
    if (t.rank() == 1) t.Poison(absl::InternalError("out of luck"));
    member = {};
    const auto begin = Clock::now();
    device.reset();
    EXPECT_LT(Clock::now() - begin, kSoon);
    EXPECT_TRUE(Contains(t.status(), "rank 1 failed: out of luck")) << t.status();
  });
}

// One GPU is enough for what NCCL refuses: every rank comes out, with NCCL's own words.
TEST(CudaNcclGroup, ErrorsAreInTheWordsOfNccl) {
  testing::RunRanks(2, {}, [](Transport& t) {
    const auto device = MustMake(0);
    ASSERT_NE(device, nullptr);
    const auto communicator = device->MakeCommunicator(t, {0, 1}, 1);
    ASSERT_FALSE(communicator.ok()) << "two ranks on one GPU";
    const absl::Status status = communicator.status();
    EXPECT_TRUE(Contains(status, "making the NCCL communicator of ranks 0,1: ")) << status;
    EXPECT_TRUE(Contains(t.status(), "ncclCommInitRankConfig: invalid usage")) << t.status();
    EXPECT_TRUE(Contains(t.status(), "NCCL_DEBUG=WARN")) << t.status();
  });
}

// A group of one begins, works and ends on any machine with a GPU.
TEST(CudaNcclGroup, OfOneRank) {
  testing::RunRanks(1, {}, [](Transport& t) {
    for (int round = 0; round < 2; ++round) {
      const auto device = MustMake(0);
      ASSERT_NE(device, nullptr);
      CudaMonitor monitor(0);
      const auto collectives = MakeCudaCollectives(*device, 0, monitor);
      const auto messenger = collectives->MakeMessenger(t);
      const auto memory = device->Allocate(64);
      const auto stream = device->MakeStream("s", 10, Device::Work::kTransfer);
      ASSERT_TRUE(memory.ok() && stream.ok());
      std::vector<float> values(8, 7), got(8);
      ASSERT_EQ(device->Write(memory->data(), values.data(), 32), absl::OkStatus());
      const int exchange = messenger->Add({.tag = 1,
                                           .sends = {{0, 32, {memory->data()}}},
                                           .receives = {{0, 32, {memory->data() + 32}}}});
      ASSERT_EQ(messenger->Connect(), absl::OkStatus());
      void* const native = (*stream)->native_stream();
      EXPECT_EQ(messenger->Run(exchange, 0, native), absl::OkStatus());
      EXPECT_EQ(cudaStreamSynchronize(static_cast<cudaStream_t>(native)), cudaSuccess);
      ASSERT_EQ(device->Read(got.data(), memory->data() + 32, 32), absl::OkStatus());
      EXPECT_EQ(got, values);
    }
    EXPECT_EQ(t.status(), absl::OkStatus());
  });
}

// The same, aborted; on one GPU, the path that a failure takes.
TEST(CudaNcclGroup, OfOneRankIsAborted) {
  testing::RunRanks(1, {}, [](Transport& t) {
    const auto device = MustMake(0);
    ASSERT_NE(device, nullptr);
    CudaMonitor monitor(0);
    const auto collectives = MakeCudaCollectives(*device, 0, monitor);
    const auto messenger = collectives->MakeMessenger(t);
    const int exchange = messenger->Add({.tag = 1});
    ASSERT_EQ(messenger->Connect(), absl::OkStatus());
    t.Poison(absl::InternalError("out of luck"));
    const absl::Status status = messenger->Run(exchange, 0, nullptr);
    EXPECT_TRUE(Contains(status, "rank 0 failed: out of luck")) << status;
  });
}

}  // namespace
}  // namespace weft
