#include "kernels/cuda_handles.h"

#include <atomic>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cuda_attention_plans.h"
#include "kernels/cuda_launch.h"
#include "runtime/status.h"

namespace weft {

CudaHandles::CudaHandles(int device) : device_(device) {}

CudaHandles::~CudaHandles() {
  attention_.reset();
  for (auto& [stream, buffer] : scratch_) (void)cudaFree(buffer.data);
  for (void* data : outgrown_) (void)cudaFree(data);
  if (cublas_ != nullptr) (void)cublasLtDestroy(cublas_);
  if (claimed_ != nullptr) (void)cudaFree(claimed_);
  if (fault_ != nullptr) (void)cudaFreeHost(fault_);
}

absl::Status CudaHandles::TakeFault() {
  const std::atomic_ref<int> told(fault_->told);
  if (told.load(std::memory_order_acquire) != fault_->round) return absl::OkStatus();
  const int op = fault_->op;
  const int64_t index = fault_->index, limit = fault_->limit;
  std::atomic_ref<int>(fault_->round).store(fault_->round + 1, std::memory_order_release);
  const char* names[] = {"", "embedding", "embedding_grad", "head_cross_entropy",
                         "head_cross_entropy_grad"};
  const bool head = op == CudaFault::kHead || op == CudaFault::kHeadGrad;
  return absl::OutOfRangeError(absl::StrCat(
      names[op], ": ", head ? "target " : "token ", index, " is not below the vocabulary size ",
      limit, "; give ", head ? "w" : "the table", " more rows, or check the data"));
}

absl::StatusOr<void*> CudaHandles::Scratch(cudaStream_t stream, int64_t bytes) {
  Buffer& buffer = scratch_[stream];
  if (buffer.bytes >= bytes) return buffer.data;
  void* larger = nullptr;
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaMalloc(&larger, bytes), absl::StrCat("scratch of ", bytes, " bytes")));
  if (buffer.data != nullptr) outgrown_.push_back(buffer.data);
  buffer = {larger, bytes};
  return buffer.data;
}

absl::StatusOr<std::unique_ptr<DeviceState>> MakeCudaHandles(int device) {
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(device), absl::StrCat("CUDA device ", device)));
  std::unique_ptr<CudaHandles> handles(new CudaHandles(device));
  WEFT_RETURN_IF_ERROR(CudaStatus(
      cudaDeviceGetAttribute(&handles->multiprocessors_, cudaDevAttrMultiProcessorCount, device),
      "number of multiprocessors"));
  const cublasStatus_t status = cublasLtCreate(&handles->cublas_);
  if (status != CUBLAS_STATUS_SUCCESS) {
    return absl::InternalError(absl::StrCat("cuBLASLt does not start on CUDA device ", device, ": ",
                                            cublasLtGetStatusString(status)));
  }
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaMalloc(&handles->claimed_, sizeof(int)), "memory for faults"));
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaMemset(handles->claimed_, 0, sizeof(int)), "memory for faults"));
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(nullptr), "memory for faults"));
  void* memory = nullptr;
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaHostAlloc(&memory, sizeof(CudaFault), cudaHostAllocMapped),
                                  "memory for faults"));
  handles->fault_ = static_cast<CudaFault*>(memory);
  *handles->fault_ = {.round = 1, .claimed = static_cast<int*>(handles->claimed_)};
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaHostGetDevicePointer(&memory, handles->fault_, 0), "memory for faults"));
  handles->device_fault_ = static_cast<CudaFault*>(memory);
  WEFT_ASSIGN_OR_RETURN(handles->attention_, AttentionPlans::Make());
  return std::unique_ptr<DeviceState>(std::move(handles));
}

absl::StatusOr<CudaHandles*> HandlesOf(const KernelContext& c) {
  if (c.device == nullptr) {
    return absl::FailedPreconditionError(
        "a CUDA kernel was run without the handles of its device (KernelContext::device)");
  }
  return static_cast<CudaHandles*>(c.device);
}

bool OnlyLists(const KernelContext& c) {
  return c.device != nullptr && static_cast<CudaHandles*>(c.device)->listing() != nullptr;
}

}  // namespace weft
