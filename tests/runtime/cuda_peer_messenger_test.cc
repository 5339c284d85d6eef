// Exchanges by copy engines between the GPUs of one process. Ranks take GPUs in turn, so that one
// GPU is enough: it copies to itself then, with the same counts.
#include "runtime/cuda_peer_messenger.h"

#include <cuda_runtime.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <future>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "runtime/cuda_device.h"
#include "tests/support/run_ranks.h"

namespace weft {
namespace {

constexpr int64_t kCount = 1 << 18;  // floats of a message
constexpr int64_t kBytes = 4 * kCount;

// One rank: its GPU, a messenger and memory for messages.
struct Rank {
  explicit Rank(Transport& transport, int messages = 4) : t(transport) {
    const absl::StatusOr<int> gpus = CountCudaDevices();
    EXPECT_EQ(gpus.status(), absl::OkStatus());
    auto made = CudaDevice::Make(t.rank() % gpus.value_or(1));
    EXPECT_EQ(made.status(), absl::OkStatus());
    device = *std::move(made);
    memory = *device->Allocate(messages * kBytes);
    stream = *device->MakeStream("s", 10, Device::Work::kTransfer);
    messenger = device->queue()->MakeMessenger(t);
  }
  void* at(int message) { return memory.data() + message * kBytes; }
  void Write(int message, float value) {
    const std::vector<float> values(kCount, value);
    EXPECT_EQ(device->Write(at(message), values.data(), kBytes), absl::OkStatus());
  }
  // The one value that a message holds throughout; NaN if there are several.
  float Read(int message) {
    std::vector<float> values(kCount);
    EXPECT_EQ(device->Read(values.data(), at(message), kBytes), absl::OkStatus());
    for (float value : values) {
      if (value != values[0]) return NAN;
    }
    return values[0];
  }
  cudaStream_t native() { return static_cast<cudaStream_t>(stream->native_stream()); }

  Transport& t;
  std::unique_ptr<CudaDevice> device;
  Arena memory;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<DeviceMessenger> messenger;
};

// Every rank sends to every other, in three exchanges of which one is of a pair alone.
TEST(CudaPeerMessenger, MessagesArriveWhereTheyBelong) {
  constexpr int kRanks = 3;
  testing::RunRanks(kRanks, {}, [](Transport& t) {
    Rank rank(t, 2 * kRanks);
    const int self = t.rank();
    std::vector<int> numbers;
    for (int tag : {7, 3}) {
      DeviceMessenger::Exchange all{.tag = tag};
      for (int peer = 0; peer < kRanks; ++peer) {
        if (peer == self) continue;
        all.sends.push_back({peer, kBytes, {rank.at(self)}});
        all.receives.push_back({peer, kBytes, {rank.at(tag == 7 ? peer : kRanks + peer)}});
      }
      numbers.push_back(rank.messenger->Add(std::move(all)));
    }
    if (self < 2) {  // one way
      DeviceMessenger::Exchange pair{.tag = 4};
      if (self == 0) pair.sends.push_back({1, kBytes / 2, {rank.at(0)}});
      if (self == 1) pair.receives.push_back({0, kBytes / 2, {rank.at(kRanks + 1)}});
      numbers.push_back(rank.messenger->Add(std::move(pair)));
    }
    ASSERT_EQ(rank.messenger->Connect(), absl::OkStatus());
    for (int64_t firing = 0; firing < 5; ++firing) {
      rank.Write(self, static_cast<float>(10 * firing + self));
      for (int number : numbers) {
        ASSERT_EQ(rank.messenger->Run(number, firing, rank.native()), absl::OkStatus());
      }
      ASSERT_EQ(cudaStreamSynchronize(rank.native()), cudaSuccess);
      for (int peer = 0; peer < kRanks; ++peer) {
        if (peer == self) continue;
        EXPECT_EQ(rank.Read(peer), static_cast<float>(10 * firing + peer));
        EXPECT_EQ(rank.Read(kRanks + peer), static_cast<float>(10 * firing + peer));
      }
    }
    EXPECT_EQ(t.status(), absl::OkStatus());
  });
}

// Two slots to read from, three to write to; many firings are enqueued before any has ended, while
// one rank is late: nothing is overwritten before its reader has had it.
TEST(CudaPeerMessenger, SlotsTakeTurnsAndWaitForTheirReader) {
  testing::RunRanks(2, {}, [](Transport& t) {
    constexpr int kFirings = 30;
    Rank rank(t, 6 + kFirings);
    const bool sends = t.rank() == 0;
    const std::vector<void*> from = {rank.at(0), rank.at(1)};
    const std::vector<void*> to = {rank.at(2), rank.at(3), rank.at(4)};
    DeviceMessenger::Exchange exchange{.tag = 1};
    if (sends) exchange.sends.push_back({1, kBytes, from});
    if (!sends) exchange.receives.push_back({0, kBytes, to});
    const int number = rank.messenger->Add(std::move(exchange));
    ASSERT_EQ(rank.messenger->Connect(), absl::OkStatus());
    const cudaStream_t stream = rank.native();
    if (!sends) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    for (int firing = 0; firing < kFirings; ++firing) {
      const auto word = [&](int value) {  // four equal bytes
        return cudaMemsetAsync(from[firing % 2], value, kBytes, stream);
      };
      if (sends) {
        ASSERT_EQ(word(firing + 1), cudaSuccess);
      }
      ASSERT_EQ(rank.messenger->Run(number, firing, stream), absl::OkStatus());
      if (!sends) {
        ASSERT_EQ(cudaMemcpyAsync(rank.at(6 + firing), to[firing % 3], kBytes,
                                  cudaMemcpyDeviceToDevice, stream),
                  cudaSuccess);
      }
    }
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    if (sends) return;
    for (int firing = 0; firing < kFirings; ++firing) {
      float expected;
      std::memset(&expected, firing + 1, sizeof expected);
      EXPECT_EQ(rank.Read(6 + firing), expected) << firing;
    }
  });
}

// A rank that never comes: after the failure the other's stream ends all the same.
TEST(CudaPeerMessenger, FailureLetsStreamsEnd) {
  std::promise<void> all_enqueued;
  const std::shared_future<void> enqueued = all_enqueued.get_future();
  testing::RunRanks(2, {}, [&](Transport& t) {
    Rank rank(t);
    const DeviceMessenger::Message out{1 - t.rank(), kBytes, {rank.at(0)}};
    const DeviceMessenger::Message in{1 - t.rank(), kBytes, {rank.at(1)}};
    const int number = rank.messenger->Add({.tag = 1, .sends = {out}, .receives = {in}});
    ASSERT_EQ(rank.messenger->Connect(), absl::OkStatus());
    if (t.rank() == 0) {
      for (int64_t firing = 0; firing < 3; ++firing) {
        ASSERT_EQ(rank.messenger->Run(number, firing, rank.native()), absl::OkStatus());
      }
      all_enqueued.set_value();
      EXPECT_EQ(cudaStreamSynchronize(rank.native()), cudaSuccess);
    } else {
      // Memory that the other copies to stays until it has enqueued that.
      enqueued.wait();
      t.Poison(absl::InternalError("out of luck"));
    }
    EXPECT_TRUE(absl::StrContains(t.status().message(), "rank 1 failed: out of luck"));
  });
}

// Ranks whose exchanges do not match hear of it, all of them, before anything moves.
TEST(CudaPeerMessenger, ExchangesThatDoNotMatch) {
  testing::RunRanks(2, {}, [](Transport& t) {
    Rank rank(t);
    const int64_t bytes = t.rank() == 0 ? kBytes : kBytes / 2;
    const DeviceMessenger::Message out{1 - t.rank(), bytes, {rank.at(0)}};
    const DeviceMessenger::Message in{1 - t.rank(), bytes, {rank.at(1)}};
    rank.messenger->Add({.tag = 5, .sends = {out}, .receives = {in}});
    const absl::Status status = rank.messenger->Connect();
    EXPECT_FALSE(status.ok());
    EXPECT_TRUE(absl::StrContains(t.status().message(), "under tag 5 does not match"))
        << t.status();
  });
}

}  // namespace
}  // namespace weft
