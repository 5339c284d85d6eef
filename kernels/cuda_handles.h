// What the CUDA kernels of one rank share on its device: library handles, algorithms chosen once
// per shape, and the faults that kernels meet in data.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/product_algorithms.h"
#include "runtime/kernel.h"

namespace weft {

class AttentionPlans;  // kernels/cuda_attention_plans.h

// The first bad index that a kernel met since the host last looked; the kernel goes on as if the
// index were padding. Lies in host memory that both sides map, where no atomic operation of the
// device is one to the host; so each word has one writer. The host counts rounds. The thread that
// is first to claim a round tells what it met, and the round in `told` last: who sees that sees
// all.
struct CudaFault {
  enum Op : int { kNone, kEmbedding, kEmbeddingGrad, kHead, kHeadGrad };
  int round;     // of the host, from 1
  int* claimed;  // in device memory: the last round that a thread has claimed
  int told;      // of the device, as are the next three: the last round of which they tell
  int op;
  int index;
  int64_t limit;
};

// The algorithm chosen for a matrix product.
struct MatmulPlan {
  cublasLtMatmulAlgo_t algorithm = {};
  int64_t workspace_bytes = 0;
  bool found = false;
};

// Used by the thread that fires the rank's actors alone.
class CudaHandles : public DeviceState {
 public:
  ~CudaHandles() override;
  CudaHandles(const CudaHandles&) = delete;
  CudaHandles& operator=(const CudaHandles&) = delete;

  int device() const { return device_; }
  cublasLtHandle_t cublas() const { return cublas_; }
  // Whether an algorithm was asked for, and the answer.
  bool HasPlan(const ProductKey& key) const { return plans_.contains(key); }
  MatmulPlan& PlanOf(const ProductKey& key) { return plans_[key]; }
  void ForgetPlan(const ProductKey& key) { plans_.erase(key); }
  // Algorithms found by measuring. Products that have one use it, all others the library's first
  // guess. While no work is enqueued.
  void set_algorithms(ProductAlgorithms algorithms) {
    algorithms_ = std::move(algorithms);
    plans_.clear();
  }
  const ProductAlgorithms& algorithms() const { return algorithms_; }
  // Where not null, kernels enqueue nothing, and the products that they would do are added to it.
  void set_listing(ProductSet* products) { listing_ = products; }
  ProductSet* listing() const { return listing_; }
  // Of the device; products may use all.
  int multiprocessors() const { return multiprocessors_; }
  // Whether f32 products may round their operands to tf32: faster, and as exact as bf16 nearly.
  void set_tf32(bool allowed) { tf32_ = allowed; }
  bool tf32() const { return tf32_; }
  // Whether equal inputs must give equal bits, at some cost in speed.
  void set_deterministic(bool deterministic) { deterministic_ = deterministic; }
  bool deterministic() const { return deterministic_; }
  // nullptr where there is no cuDNN.
  AttentionPlans* attention() const { return attention_.get(); }

  // For kernels to report to.
  CudaFault* fault() const { return device_fault_; }
  // OutOfRange if a kernel that has run met a bad index, which is then forgotten. For the runtime,
  // when a step has ended.
  absl::Status TakeFault();

  // At least `bytes` of device memory for work on `stream`, kept until the handles go, outgrown
  // memory as well: cudaFree waits for the device, where kernels may wait for other ranks, and
  // those for what this rank has yet to enqueue. For scratch whose size only a library knows,
  // beyond what the plan has. Not while a graph is captured.
  absl::StatusOr<void*> Scratch(cudaStream_t stream, int64_t bytes);

 private:
  friend absl::StatusOr<std::unique_ptr<DeviceState>> MakeCudaHandles(int device);
  explicit CudaHandles(int device);

  struct Buffer {
    void* data = nullptr;
    int64_t bytes = 0;
  };

  int device_;
  bool tf32_ = false;
  bool deterministic_ = false;
  int multiprocessors_ = 0;
  cublasLtHandle_t cublas_ = nullptr;
  void* claimed_ = nullptr;            // CudaFault::claimed
  CudaFault* fault_ = nullptr;         // as the host sees it,
  CudaFault* device_fault_ = nullptr;  // and as the device does
  std::map<ProductKey, MatmulPlan> plans_;
  ProductAlgorithms algorithms_;
  ProductSet* listing_ = nullptr;
  std::map<cudaStream_t, Buffer> scratch_;  // the largest so far
  std::vector<void*> outgrown_;             // what work enqueued earlier may still use
  std::unique_ptr<AttentionPlans> attention_;
};

// The handles for kernels on `device`, which becomes the calling thread's. Errors: no such device,
// too little memory, a library that does not start; in CUDA's words.
absl::StatusOr<std::unique_ptr<DeviceState>> MakeCudaHandles(int device);

// The handles of a kernel's context, or FailedPrecondition if it has none.
absl::StatusOr<CudaHandles*> HandlesOf(const KernelContext& c);

}  // namespace weft
