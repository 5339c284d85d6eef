// What streams cost on this GPU, and what copies wait for. JSON lines.
//
// copy: copies within the GPU and to a peer, by several calls of CUDA's, beside an idle GPU and
// beside a kernel that takes every multiprocessor for a while: what a multiprocessor makes waits
// for its end. boundary: a chain of kernels of 10 us with an event, a write to host memory that
// waits for what is before it, or a timed event between them.
#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "timing.h"

namespace weft {
namespace {

constexpr int kRounds = 4;
constexpr int64_t kHoldNanoseconds = 4'000'000;
constexpr int kChain = 200;

__device__ int64_t Nanoseconds() {
  int64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

// Blocks of 1024 threads, whose registers leave room for nothing else.
__global__ void __launch_bounds__(1024) HoldKernel(int64_t nanoseconds) {
  const int64_t begin = Nanoseconds();
  while (Nanoseconds() - begin < nanoseconds) {
  }
}

using WriteValue = CUresult (*)(CUstream, CUdeviceptr, cuuint64_t, unsigned int);

class Streams {
 public:
  Streams() {
    int least = 0, greatest = 0;
    CheckCuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), "priorities");
    CheckCuda(cudaStreamCreateWithPriority(&work_, cudaStreamNonBlocking, least), "stream");
    CheckCuda(cudaStreamCreateWithPriority(&copies_, cudaStreamNonBlocking, greatest), "stream");
    CheckCuda(cudaEventCreate(&begin_), "event");
    CheckCuda(cudaEventCreate(&end_), "event");
    CheckCuda(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, 0),
              "multiprocessors");
    for (char*& data : data_) data = DeviceAlloc<char>(kMostBytes);
    int devices = 0, reaches = 0;
    CheckCuda(cudaGetDeviceCount(&devices), "devices");
    if (devices > 1) CheckCuda(cudaDeviceCanAccessPeer(&reaches, 0, 1), "peers");
    if (reaches == 0) return;
    CheckCuda(cudaDeviceEnablePeerAccess(1, 0), "peer access");
    CheckCuda(cudaSetDevice(1), "cudaSetDevice");
    peer_ = DeviceAlloc<char>(kMostBytes);
    CheckCuda(cudaSetDevice(0), "cudaSetDevice");
  }

  void Copies() {
    for (const int64_t bytes : {int64_t{4} << 20, int64_t{11} << 20, kMostBytes}) {
      Copy("memcpy", bytes, [&] {
        return cudaMemcpyAsync(data_[0], data_[1], bytes, cudaMemcpyDeviceToDevice, copies_);
      });
      Copy("memcpy_2d", bytes, [&] {
        return cudaMemcpy2DAsync(data_[0], kRow, data_[1], kRow, kRow, bytes / kRow,
                                 cudaMemcpyDeviceToDevice, copies_);
      });
      Copy("memcpy_peer_to_itself", bytes,
           [&] { return cudaMemcpyPeerAsync(data_[0], 0, data_[1], 0, bytes, copies_); });
#if CUDART_VERSION >= 13000
      Copy("memcpy_batch_overlap", bytes, [&] {
        cudaMemcpyAttributes how = {};
        how.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
        how.flags = cudaMemcpyFlagPreferOverlapWithCompute;
        void* to = data_[0];
        const void* from = data_[1];
        const auto size = static_cast<size_t>(bytes);
        size_t first = 0;
        return cudaMemcpyBatchAsync(&to, &from, &size, 1, &how, &first, 1, copies_);
      });
#endif
      if (peer_ == nullptr) continue;
      Copy("memcpy_to_peer", bytes,
           [&] { return cudaMemcpyAsync(peer_, data_[1], bytes, cudaMemcpyDefault, copies_); });
    }
  }

  void Boundaries() {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result;
    CheckCuda(cudaGetDriverEntryPointByVersion("cuStreamWriteValue64", &found, 12000,
                                               cudaEnableDefault, &result),
              "cuStreamWriteValue64");
    const auto write = reinterpret_cast<WriteValue>(found);
    void* host = nullptr;
    CheckCuda(cudaHostAlloc(&host, sizeof(uint64_t), cudaHostAllocMapped), "cudaHostAlloc");
    cudaEvent_t event = nullptr;
    CheckCuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "event");
    std::vector<cudaEvent_t> timed(kChain);
    for (cudaEvent_t& each : timed) CheckCuda(cudaEventCreate(&each), "event");
    Boundary("nothing", [](int) {});
    Boundary("event", [&](int) { CheckCuda(cudaEventRecord(event, work_), "event"); });
    Boundary("write_to_host", [&](int i) {
      const CUresult wrote =
          write(reinterpret_cast<CUstream>(work_), reinterpret_cast<CUdeviceptr>(host), i, 0);
      CheckCuda(wrote == CUDA_SUCCESS ? cudaSuccess : cudaErrorUnknown, "write");
    });
    Boundary("timed_event", [&](int i) { CheckCuda(cudaEventRecord(timed[i], work_), "event"); });
  }

 private:
  static constexpr int64_t kMostBytes = int64_t{64} << 20;
  static constexpr int64_t kRow = 4096;

  void Copy(const char* call, int64_t bytes, const std::function<cudaError_t()>& enqueue) {
    for (const bool held : {false, true}) {
      double least = 1;
      for (int round = 0; round < kRounds; ++round) {
        CheckCuda(cudaDeviceSynchronize(), "rest");
        if (held) {
          HoldKernel<<<2 * multiprocessors_, 1024, 0, work_>>>(kHoldNanoseconds);
          const auto begin = std::chrono::steady_clock::now();
          while (std::chrono::steady_clock::now() - begin < std::chrono::microseconds(500)) {
          }
        }
        least = std::min(least, Seconds(copies_, [&] { CheckCuda(enqueue(), call); }));
      }
      std::printf(
          "{\"benchmark\": \"gpu_streams\", \"copy\": \"%s\", \"bytes\": %lld, "
          "\"multiprocessors\": \"%s\", \"us\": %.1f}\n",
          call, static_cast<long long>(bytes), held ? "taken" : "idle", least * 1e6);
    }
  }

  void Boundary(const char* what, const std::function<void(int)>& between) {
    double least = 1;
    for (int round = 0; round < kRounds; ++round) {
      CheckCuda(cudaDeviceSynchronize(), "rest");
      HoldKernel<<<1, 32, 0, work_>>>(kHoldNanoseconds);  // until all is enqueued
      const double seconds = Seconds(work_, [&] {
        for (int i = 0; i < kChain; ++i) {
          HoldKernel<<<multiprocessors_, 128, 0, work_>>>(10'000);
          between(i);
        }
      });
      least = std::min(least, seconds / kChain);
    }
    std::printf(
        "{\"benchmark\": \"gpu_streams\", \"between_kernels_of_10_us\": \"%s\", \"us\": %.2f}\n",
        what, least * 1e6);
  }

  // From when the stream comes to what `enqueue` enqueues to its end.
  double Seconds(cudaStream_t stream, const std::function<void()>& enqueue) {
    CheckCuda(cudaEventRecord(begin_, stream), "event");
    enqueue();
    CheckCuda(cudaEventRecord(end_, stream), "event");
    CheckCuda(cudaEventSynchronize(end_), "timed work");
    float milliseconds = 0;
    CheckCuda(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return milliseconds * 1e-3;
  }

  cudaStream_t work_ = nullptr, copies_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  int multiprocessors_ = 0;
  char* data_[2];
  char* peer_ = nullptr;  // of the second GPU; null: there is none in reach
};

}  // namespace
}  // namespace weft

int main() {
  weft::Streams streams;
  streams.Copies();
  streams.Boundaries();
  return 0;
}
