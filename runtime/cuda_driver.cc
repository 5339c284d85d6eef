#include "runtime/cuda_driver.h"

#include <cuda.h>

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

using StreamValue = CUresult (*)(CUstream, CUdeviceptr, cuuint64_t, unsigned int);
using AddressRange = CUresult (*)(CUdeviceptr*, size_t*, CUdeviceptr);

struct Driver {
  StreamValue write = nullptr;
  StreamValue wait = nullptr;
  AddressRange range = nullptr;
};

void* Find(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result);
  if (error != cudaSuccess) (void)cudaGetLastError();
  return error == cudaSuccess ? found : nullptr;
}

const Driver& TheDriver() {
  static const Driver driver{reinterpret_cast<StreamValue>(Find("cuStreamWriteValue64")),
                             reinterpret_cast<StreamValue>(Find("cuStreamWaitValue64")),
                             reinterpret_cast<AddressRange>(Find("cuMemGetAddressRange"))};
  return driver;
}

absl::Status DriverStatus(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(call, ": CUDA error ", result));
}

}  // namespace

absl::Status CheckCudaDriver() {
  const Driver& driver = TheDriver();
  if (driver.write != nullptr && driver.wait != nullptr && driver.range != nullptr) {
    return absl::OkStatus();
  }
  return absl::UnimplementedError(
      "the CUDA driver lacks cuStreamWriteValue64, cuStreamWaitValue64 or cuMemGetAddressRange; "
      "install a newer one");
}

absl::Status WriteOnStream(cudaStream_t stream, void* address, int64_t value) {
  return DriverStatus(TheDriver().write(stream, reinterpret_cast<CUdeviceptr>(address),
                                        static_cast<cuuint64_t>(value), 0),
                      "cuStreamWriteValue64");
}

absl::Status AwaitOnStream(cudaStream_t stream, void* address, int64_t value) {
  return DriverStatus(TheDriver().wait(stream, reinterpret_cast<CUdeviceptr>(address),
                                       static_cast<cuuint64_t>(value), CU_STREAM_WAIT_VALUE_GEQ),
                      "cuStreamWaitValue64");
}

absl::StatusOr<CudaAllocation> CudaAllocationOf(const void* address) {
  CUdeviceptr base = 0;
  size_t bytes = 0;
  const absl::Status status = DriverStatus(
      TheDriver().range(&base, &bytes, reinterpret_cast<CUdeviceptr>(address)),
      "cuMemGetAddressRange");
  if (!status.ok()) return status;
  return CudaAllocation{reinterpret_cast<char*>(base), static_cast<int64_t>(bytes)};
}

}  // namespace weft
