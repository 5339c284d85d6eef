// CudaDevice and NCCL on the GPUs of this machine: memory, copies between boxes, streams, and the
// conformance of communicators, in groups of as many ranks as there are GPUs.
#include "runtime/cuda_device.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <numeric>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/box_copy.h"
#include "runtime/cuda_status.h"
#include "tests/support/collective_cases.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

std::unique_ptr<CudaDevice> MustMake(int ordinal) {
  auto device = CudaDevice::Make(ordinal);
  EXPECT_EQ(device.status(), absl::OkStatus());
  return device.ok() ? *std::move(device) : nullptr;
}

int Gpus() {
  const absl::StatusOr<int> count = CountCudaDevices();
  return count.ok() ? *count : 0;
}

// Calls with host memory, as the conformance suite makes them: copies to the device, lets the
// communicator work there, copies back and waits. Where `out` lies within `in` or the reverse, so
// it does on the device.
class HostFacade final : public Communicator {
 public:
  HostFacade(Communicator& inner, CudaDevice& device)
      : Communicator({inner.world_ranks().begin(), inner.world_ranks().end()}, inner.rank()),
        inner_(inner),
        device_(device) {
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    inner_.RunOn(stream_);
  }
  ~HostFacade() override { cudaStreamDestroy(stream_); }

  absl::Status AllReduce(const void* in, void* out, int64_t count, DType dtype,
                         Monoid monoid) override {
    const int64_t bytes = std::max<int64_t>(count, 0) * SizeOf(dtype);
    return Run(in, bytes, out, bytes,
               [&](void* i, void* o) { return inner_.AllReduce(i, o, count, dtype, monoid); });
  }
  absl::Status ReduceScatter(const void* in, void* out, absl::Span<const int64_t> counts,
                             DType dtype, Monoid monoid) override {
    return Run(in, Sum(counts) * SizeOf(dtype), out, counts[rank()] * SizeOf(dtype),
               [&](void* i, void* o) { return inner_.ReduceScatter(i, o, counts, dtype, monoid); });
  }
  absl::Status AllGather(const void* in, void* out, absl::Span<const int64_t> counts,
                         DType dtype) override {
    return Run(in, counts[rank()] * SizeOf(dtype), out, Sum(counts) * SizeOf(dtype),
               [&](void* i, void* o) { return inner_.AllGather(i, o, counts, dtype); });
  }
  absl::Status AllToAll(const void* in, Parts send, void* out, Parts receive,
                        DType dtype) override {
    const auto end = [&](Parts parts) {
      int64_t most = 0;
      for (int r = 0; r < size(); ++r) most = std::max(most, parts.offsets[r] + parts.counts[r]);
      return most * SizeOf(dtype);
    };
    return Run(in, end(send), out, end(receive),
               [&](void* i, void* o) { return inner_.AllToAll(i, send, o, receive, dtype); });
  }
  absl::Status Broadcast(void* data, int64_t count, DType dtype, int root) override {
    return Run(data, count * SizeOf(dtype), data, count * SizeOf(dtype),
               [&](void*, void* o) { return inner_.Broadcast(o, count, dtype, root); });
  }

 private:
  static int64_t Sum(absl::Span<const int64_t> counts) {
    return std::accumulate(counts.begin(), counts.end(), int64_t{0});
  }

  template <typename F>
  absl::Status Run(const void* in, int64_t in_bytes, void* out, int64_t out_bytes, F call) {
    const auto* i = static_cast<const std::byte*>(in);
    auto* o = static_cast<std::byte*>(out);
    const bool inside = o >= i && o + out_bytes <= i + in_bytes;
    const bool around = i >= o && i + in_bytes <= o + out_bytes;
    const bool shared = (inside || around) && in_bytes > 0 && out_bytes > 0;
    const int64_t gap = (in_bytes + 255) / 256 * 256;
    absl::StatusOr<Arena> memory = device_.Allocate(gap + out_bytes);
    if (!memory.ok()) return memory.status();
    std::byte* there_in = memory->data();
    std::byte* there_out = there_in + gap;
    if (shared && inside) there_out = there_in + (o - i);
    if (shared && !inside) there_in = there_out + (i - o);
    absl::Status status = device_.Write(there_out, o, out_bytes);
    if (status.ok()) status = device_.Write(there_in, i, in_bytes);
    if (status.ok()) status = call(there_in, there_out);
    const cudaError_t error = cudaStreamSynchronize(stream_);
    if (status.ok() && error != cudaSuccess)
      status = absl::InternalError(cudaGetErrorString(error));
    if (status.ok()) status = device_.Read(o, there_out, out_bytes);
    return status;
  }

  Communicator& inner_;
  CudaDevice& device_;
  cudaStream_t stream_ = nullptr;
};

TEST(CudaDevice, MemoryIsZeroedAndKeepsWhatIsWritten) {
  const auto device = MustMake(0);
  ASSERT_NE(device, nullptr);
  auto arena = device->Allocate(100003);
  ASSERT_TRUE(arena.ok()) << arena.status();
  std::vector<uint8_t> host(100003, 7), back(100003, 9);
  ASSERT_TRUE(device->Read(back.data(), arena->data(), 100003).ok());
  EXPECT_EQ(std::count(back.begin(), back.end(), 0), 100003);
  ASSERT_TRUE(device->Write(arena->data(), host.data(), 100003).ok());
  ASSERT_TRUE(device->Read(back.data(), arena->data(), 100003).ok());
  EXPECT_EQ(back, host);
  const auto nothing = device->Allocate(0);
  ASSERT_TRUE(nothing.ok());
  EXPECT_NE(nothing->data(), nullptr);
}

TEST(CudaDevice, WantOfMemorySaysHowMuchIsFree) {
  const auto device = MustMake(0);
  ASSERT_NE(device, nullptr);
  const auto arena = device->Allocate(int64_t{1} << 45);
  ASSERT_FALSE(arena.ok());
  EXPECT_EQ(arena.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(arena.status().message().find("are free"), std::string::npos) << arena.status();
  EXPECT_TRUE(device->Allocate(1 << 20).ok()) << "it recovers";
}

// Random boxes, cut in several intervals: as BoxCopy does on the host.
TEST(CudaDevice, CopiesAndCombinesBetweenBoxesAsTheHostDoes) {
  const auto device = MustMake(0);
  ASSERT_NE(device, nullptr);
  std::mt19937 random(1);
  const auto subset = [&random](int64_t size) {
    IndexSet parts;
    for (int64_t at = static_cast<int64_t>(random() % 3); at < size;) {
      const int64_t length = 1 + static_cast<int64_t>(random() % 9);
      parts.Append({at, std::min(at + length, size)});
      at += length + static_cast<int64_t>(random() % 3);
    }
    return parts;
  };
  for (int round = 0; round < 60; ++round) {
    const DType dtype = testing::kAllDTypes[round % 7];  // not bool: sums
    Box from, to;
    for (int64_t size : {5, 12, 32}) {
      // Of every fifth both are whole: one run on both sides.
      const bool whole = round % 5 == 4;
      from.dims.push_back(whole || round % 3 == 0 ? IndexSet({0, size}) : subset(size));
      to.dims.push_back(whole || round % 3 == 1 ? IndexSet({0, size}) : subset(size));
    }
    const BoxCopy copy(from, to, to, dtype);
    const std::vector<std::byte> source = testing::ValuesOf(dtype, 1, 0, from.elements());
    const std::vector<std::byte> before = testing::ValuesOf(dtype, 2, 0, to.elements());
    const auto prepared = device->queue()->Prepare({&copy, 1});
    ASSERT_TRUE(prepared.ok()) << prepared.status();
    auto there = device->Allocate(source.size());
    auto result = device->Allocate(before.size());
    ASSERT_TRUE(device->Write(there->data(), source.data(), source.size()).ok());
    for (const std::string way : {"copying", "combining", "both in one"}) {
      std::vector<std::byte> expected = before, got(before.size());
      ASSERT_TRUE(device->Write(result->data(), before.data(), before.size()).ok());
      if (way == "both in one") {
        copy.Copy(source.data(), expected.data());
        copy.Combine(Monoid::kSum, source.data(), expected.data());
        ASSERT_TRUE((*prepared)
                        ->CopyAndCombine(0, there->data(), 0, Monoid::kSum, there->data(),
                                         result->data(), nullptr)
                        .ok());
      } else if (way == "combining") {
        copy.Combine(Monoid::kSum, source.data(), expected.data());
        ASSERT_TRUE(
            (*prepared)->Combine(0, Monoid::kSum, there->data(), result->data(), nullptr).ok());
      } else {
        copy.Copy(source.data(), expected.data());
        ASSERT_TRUE((*prepared)->Copy(0, there->data(), result->data(), nullptr).ok());
      }
      ASSERT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
      ASSERT_TRUE(device->Read(got.data(), result->data(), got.size()).ok());
      EXPECT_TRUE(got == expected) << "round " << round << ", " << way;
    }
  }
}

// Two streams of one device: the host runs ahead, what waits sees what it waited for.
TEST(CudaDevice, StreamsWaitForOneAnothersEvents) {
  const auto device = MustMake(0);
  ASSERT_NE(device, nullptr);
  auto a = device->MakeStream("a", 100, Device::Work::kCompute);
  auto b = device->MakeStream("b", 100, Device::Work::kTransfer);
  ASSERT_TRUE(a.ok() && b.ok());
  static int order = 0;
  static int first = 0, second = 0;
  order = 0;
  struct Call {
    Stream* stream;
    int* seen;
  } one{a->get(), &first}, two{b->get(), &second};
  const auto task = [](void* context, int64_t) {
    auto* call = static_cast<Call*>(context);
    cudaLaunchHostFunc(
        static_cast<cudaStream_t>(call->stream->native_stream()),
        [](void* seen) { *static_cast<int*>(seen) = ++order; }, call->seen);
  };
  for (int round = 0; round < 50; ++round) {
    (*a)->Enqueue({.run = task, .context = &one});
    (*b)->Wait((*a)->Record());
    (*b)->Enqueue({.run = task, .context = &two});
    (*a)->Wait((*b)->Record());
    (*b)->completed().Await((*b)->submitted());
    EXPECT_EQ(first, 2 * round + 1);
    EXPECT_EQ(second, 2 * round + 2);
  }
  (*a)->Enqueue({.run = task, .context = &one});  // a wait alone tells the host nothing
  (*a)->completed().Await((*a)->submitted());
}

// CUDA notes "not ready" as the thread's last error, where the next launch would find it.
TEST(CudaDevice, AskingAStreamLeavesNoErrorBehind) {
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  std::promise<void> may_end;
  std::future<void> may_end_now = may_end.get_future();
  ASSERT_EQ(cudaLaunchHostFunc(
                stream, [](void* future) { static_cast<std::future<void>*>(future)->wait(); },
                &may_end_now),
            cudaSuccess);
  const absl::StatusOr<bool> done = CudaStreamDone(stream, "asking");
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
  may_end.set_value();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_FALSE(*done);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  const absl::StatusOr<bool> done_now = CudaStreamDone(stream, "asking");
  ASSERT_TRUE(done_now.ok()) << done_now.status();
  EXPECT_TRUE(*done_now);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_FALSE(CudaStatus(cudaSetDevice(1 << 20), "no such device").ok());
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess) << "what was reported is reported once";
}

TEST(CudaCollectives, ConformInAllDTypes) {
  for (int size = 1; size <= Gpus(); ++size) {
    SCOPED_TRACE(size);
    testing::RunRanks(size, {}, [size](Transport& t) {
      const auto device = MustMake(t.rank());
      ASSERT_NE(device, nullptr);
      std::vector<int> ranks(size);
      std::iota(ranks.begin(), ranks.end(), 0);
      auto inner = device->MakeCommunicator(t, ranks, 1);
      ASSERT_TRUE(inner.ok()) << inner.status();
      HostFacade c(**inner, *device);
      for (const DType dtype : testing::kAllDTypes) testing::CheckCollectives(c, dtype, true);
    });
  }
}

// A rank that fails while others wait on the device for it: they hear of it within a second.
TEST(CudaCollectives, PoisonEndsWhatWaitsOnTheDevice) {
  if (Gpus() < 2) GTEST_SKIP() << "two ranks need two GPUs; this process sees " << Gpus();
  testing::RunRanks(2, {}, [](Transport& t) {
    const auto device = MustMake(t.rank());
    ASSERT_NE(device, nullptr);
    auto c = device->MakeCommunicator(t, {0, 1}, 1);
    ASSERT_TRUE(c.ok()) << c.status();
    if (t.rank() == 1) {
      t.Poison(absl::InternalError("out of luck"));
      return;
    }
    auto stream = device->MakeStream("s", 10, Device::Work::kTransfer);
    ASSERT_TRUE(stream.ok());
    auto memory = device->Allocate(1 << 20);
    ASSERT_TRUE(memory.ok());
    (*c)->RunOn((*stream)->native_stream());
    // It may still be taken, or be refused already: in neither case does it wait for ever.
    (void)(*c)->AllReduce(memory->data(), memory->data(), 1 << 18, DType::kF32, Monoid::kSum);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(cudaStreamSynchronize(static_cast<cudaStream_t>((*stream)->native_stream())),
              cudaSuccess);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
    const absl::Status after =
        (*c)->AllReduce(memory->data(), memory->data(), 1 << 18, DType::kF32, Monoid::kSum);
    EXPECT_NE(after.message().find("rank 1 failed: out of luck"), std::string::npos) << after;
  });
}

}  // namespace
}  // namespace weft
