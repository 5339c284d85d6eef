// Recordings of CUDA streams. Needs a GPU.
#include "runtime/cuda_recording.h"

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/cuda_monitor.h"

namespace weft {
namespace {

class CudaRecordingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    ASSERT_EQ(cudaMalloc(&from_, kBytes), cudaSuccess);
    ASSERT_EQ(cudaMalloc(&to_, kBytes), cudaSuccess);
    ASSERT_EQ(cudaMemset(to_, 0, kBytes), cudaSuccess);
  }
  void TearDown() override {
    cudaStreamSynchronize(stream_);
    cudaFree(from_);
    cudaFree(to_);
    cudaStreamDestroy(stream_);
  }
  cudaError_t EnqueueCopy() {
    return cudaMemcpyAsync(to_, from_, kBytes, cudaMemcpyDeviceToDevice, stream_);
  }
  // The byte that all of `to_` has once the stream is done; -1 if they differ.
  int Byte() {
    std::vector<uint8_t> bytes(kBytes);
    cudaStreamSynchronize(stream_);
    if (cudaMemcpy(bytes.data(), to_, kBytes, cudaMemcpyDeviceToHost) != cudaSuccess) return -1;
    for (const uint8_t byte : bytes) {
      if (byte != bytes[0]) return -1;
    }
    return bytes[0];
  }

  static constexpr size_t kBytes = 4096;
  cudaStream_t stream_ = nullptr;
  void* from_ = nullptr;
  void* to_ = nullptr;
};

TEST_F(CudaRecordingTest, DoesNothingUntilItIsReplayedAndThenTheSameEachTime) {
  ASSERT_EQ(cudaMemset(from_, 1, kBytes), cudaSuccess);
  ASSERT_TRUE(BeginCudaRecording(stream_).ok());
  ASSERT_EQ(EnqueueCopy(), cudaSuccess);
  auto recording = EndCudaRecording(stream_);
  ASSERT_TRUE(recording.ok()) << recording.status();
  EXPECT_EQ(Byte(), 0);
  for (int value : {1, 2, 3}) {
    ASSERT_EQ(cudaMemsetAsync(from_, value, kBytes, stream_), cudaSuccess);
    ASSERT_TRUE((*recording)->Replay(stream_).ok());
    EXPECT_EQ(Byte(), value);
  }
}

// The monitor looks after the device while a stream of it is recorded.
TEST_F(CudaRecordingTest, DeviceMayBeAskedWhileOneRecords) {
  ASSERT_EQ(cudaMemset(from_, 5, kBytes), cudaSuccess);
  struct Watched final : CudaWatched {
    explicit Watched(CudaMonitor& m) : monitor(m) {}
    bool Poll() override {
      if (!asked.exchange(true)) answer.set_value(monitor.AskDevice());
      return true;
    }
    CudaMonitor& monitor;
    std::atomic<bool> asked{false};
    std::promise<absl::Status> answer;
  };
  CudaMonitor monitor(0);
  Watched watched(monitor);
  ASSERT_TRUE(BeginCudaRecording(stream_).ok());
  monitor.Add(&watched);
  EXPECT_EQ(watched.answer.get_future().get(), absl::OkStatus());
  ASSERT_EQ(EnqueueCopy(), cudaSuccess);
  const auto recording = EndCudaRecording(stream_);
  monitor.Remove(&watched);
  ASSERT_TRUE(recording.ok()) << recording.status();
  ASSERT_TRUE((*recording)->Replay(stream_).ok());
  EXPECT_EQ(Byte(), 5);
}

TEST_F(CudaRecordingTest, WhatCannotBeRecordedLeavesTheStreamUsable) {
  ASSERT_TRUE(BeginCudaRecording(stream_).ok());
  ASSERT_EQ(EnqueueCopy(), cudaSuccess);
  EXPECT_NE(cudaStreamSynchronize(stream_), cudaSuccess);  // not while it records
  (void)cudaGetLastError();
  const auto recording = EndCudaRecording(stream_);
  EXPECT_FALSE(recording.ok());
  ASSERT_EQ(cudaMemsetAsync(from_, 7, kBytes, stream_), cudaSuccess);
  ASSERT_EQ(EnqueueCopy(), cudaSuccess);
  EXPECT_EQ(Byte(), 7);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

}  // namespace
}  // namespace weft
