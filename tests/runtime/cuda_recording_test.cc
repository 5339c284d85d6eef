// Recordings of CUDA streams. Needs a GPU.
#include "runtime/cuda_recording.h"

#include <cuda_runtime.h>

#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <vector>

#include "gtest/gtest.h"

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

// Asking a stream that is recorded how it is would end the recording.
TEST_F(CudaRecordingTest, NobodyMayAskWhileOneRecords) {
  const auto may_ask = [] {
    return std::async(std::launch::async,
                      [] {
                        const std::unique_lock<std::mutex> lock(CudaRecordingMutex(),
                                                                std::try_to_lock);
                        return lock.owns_lock();
                      })
        .get();
  };
  EXPECT_TRUE(may_ask());
  ASSERT_TRUE(BeginCudaRecording(stream_).ok());
  EXPECT_FALSE(may_ask());
  EXPECT_TRUE(EndCudaRecording(stream_).ok());
  EXPECT_TRUE(may_ask());
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
