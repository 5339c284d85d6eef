#include "runtime/cuda_status.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace weft {

absl::Status CudaStatus(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  (void)cudaGetLastError();
  const std::string text = absl::StrCat(std::string(what), ": ", cudaGetErrorString(error), " (",
                                        cudaGetErrorName(error), ")");
  return error == cudaErrorMemoryAllocation ? absl::ResourceExhaustedError(text)
                                            : absl::InternalError(text);
}

absl::StatusOr<bool> CudaStreamDone(cudaStream_t stream, std::string_view what) {
  const cudaError_t error = cudaStreamQuery(stream);
  if (error == cudaSuccess) return true;
  if (error != cudaErrorNotReady) return CudaStatus(error, what);
  (void)cudaGetLastError();  // not an error, yet CUDA notes it as one
  return false;
}

}  // namespace weft
