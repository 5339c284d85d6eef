// Timing and memory for the GPU ceilings: CUDA events around repeated work, after a warm-up.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace weft {

// Ends the program with CUDA's own text; a benchmark has nothing to clean up.
inline void CheckCuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

// Two events on one stream.
class CudaTimer {
 public:
  explicit CudaTimer(cudaStream_t stream) : stream_(stream) {
    CheckCuda(cudaEventCreate(&begin_), "cudaEventCreate");
    CheckCuda(cudaEventCreate(&end_), "cudaEventCreate");
  }
  ~CudaTimer() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  CudaTimer(const CudaTimer&) = delete;
  CudaTimer& operator=(const CudaTimer&) = delete;

  // Seconds that the stream takes for `calls` calls of `work`, divided by their number.
  double Seconds(int calls, const std::function<void()>& work) {
    CheckCuda(cudaEventRecord(begin_, stream_), "cudaEventRecord");
    for (int i = 0; i < calls; ++i) work();
    CheckCuda(cudaEventRecord(end_, stream_), "cudaEventRecord");
    CheckCuda(cudaEventSynchronize(end_), "timed work");
    float milliseconds = 0;
    CheckCuda(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return milliseconds * 1e-3 / calls;
  }

  // The median of `batches` such measurements, after one that does not count.
  double MedianSeconds(int batches, int calls, const std::function<void()>& work) {
    Seconds(calls, work);
    std::vector<double> seconds;
    for (int i = 0; i < batches; ++i) seconds.push_back(Seconds(calls, work));
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

// Device memory that lives as long as the program.
template <typename T>
T* DeviceAlloc(int64_t count) {
  void* data = nullptr;
  CheckCuda(cudaMalloc(&data, count * sizeof(T)), "cudaMalloc");
  return static_cast<T*>(data);
}

}  // namespace weft
