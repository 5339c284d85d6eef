#include "runtime/cuda_device.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/cuda_queue.h"
#include "runtime/cuda_status.h"
#include "runtime/cuda_stream.h"
#include "runtime/cuda_time_marks.h"
#include "runtime/human_units.h"
#include "runtime/status.h"

namespace weft {
namespace {

// What an arena of no bytes takes, so that it has an address.
constexpr int64_t kLeastBytes = 256;
// Libraries, NCCL's buffers and kernels' own scratch.
constexpr int64_t kReserveBytes = int64_t{3} << 29;

// A failure to free says that the device has failed earlier, which others report.
void FreeDevice(void* data, int64_t) {
  if (cudaFree(data) != cudaSuccess) (void)cudaGetLastError();
}
void FreeHost(void* data, int64_t) {
  if (cudaFreeHost(data) != cudaSuccess) (void)cudaGetLastError();
}

absl::Status Copy(const KernelContext& c) {
  const int64_t bytes = c.out(0).elements() * SizeOf(c.out(0).dtype());
  if (bytes == 0 || c.in(0).data == c.out(0).data) return absl::OkStatus();
  return CudaStatus(cudaMemcpyAsync(c.out(0).data, c.in(0).data, bytes, cudaMemcpyDeviceToDevice,
                                    static_cast<cudaStream_t>(c.native_stream)),
                    "copying on the device");
}

std::string NameOf(int ordinal, const CudaDeviceFacts& facts) {
  return absl::StrCat("CUDA device ", ordinal, " (", facts.name, ")");
}

}  // namespace

absl::StatusOr<int> CountCudaDevices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return count;
  (void)cudaGetLastError();
  return absl::FailedPreconditionError(
      absl::StrCat("this process sees no GPU: ",
                   error == cudaSuccess ? "there is none" : cudaGetErrorString(error),
                   "; look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use device: CPU"));
}

absl::StatusOr<CudaDeviceFacts> FactsOfCudaDevice(int ordinal) {
  const std::string what = absl::StrCat("CUDA device ", ordinal);
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(ordinal), what));
  cudaDeviceProp properties;
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaGetDeviceProperties(&properties, ordinal), what));
  size_t free = 0, total = 0;
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaMemGetInfo(&free, &total), what));
  CudaDeviceFacts facts;
  facts.name = properties.name;
  facts.major = properties.major;
  facts.minor = properties.minor;
  facts.multiprocessors = properties.multiProcessorCount;
  facts.memory_bytes = static_cast<int64_t>(total);
  facts.free_bytes = static_cast<int64_t>(free);
  return facts;
}

CudaDevice::CudaDevice(int ordinal, const CudaDeviceFacts& facts)
    : Device(NameOf(ordinal, facts)),
      ordinal_(ordinal),
      facts_(facts),
      memory_bytes_(std::max<int64_t>(facts.free_bytes - kReserveBytes, 1)),
      monitor_(ordinal),
      collectives_(MakeCudaCollectives(*this, ordinal, monitor_)),
      queue_(std::make_unique<CudaQueue>(*this, ordinal, monitor_, *collectives_)) {}

CudaDevice::~CudaDevice() { set_state(nullptr); }

absl::StatusOr<std::unique_ptr<CudaDevice>> CudaDevice::Make(int ordinal) {
  SetNcclDefaults();
  WEFT_ASSIGN_OR_RETURN(const CudaDeviceFacts facts, FactsOfCudaDevice(ordinal));
  return std::unique_ptr<CudaDevice>(new CudaDevice(ordinal, facts));
}

absl::Status CudaDevice::Use() const { return CudaStatus(cudaSetDevice(ordinal_), name()); }

absl::StatusOr<Arena> CudaDevice::Allocate(int64_t bytes) {
  if (bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("an arena of ", bytes, " bytes"));
  }
  WEFT_RETURN_IF_ERROR(Use());
  const int64_t size = std::max(bytes, kLeastBytes);
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, size);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    size_t free = 0, total = 0;
    (void)cudaMemGetInfo(&free, &total);
    return absl::ResourceExhaustedError(absl::StrCat(
        name(), " has no memory for ", HumanBytes(size), ": ",
        HumanBytes(static_cast<int64_t>(free)), " of ", HumanBytes(static_cast<int64_t>(total)),
        " are free; use more microbatches, a smaller global_batch or more ranks, and see with "
        "nvidia-smi who else holds memory"));
  }
  WEFT_RETURN_IF_ERROR(CudaStatus(error, absl::StrCat(name(), ": allocating ", HumanBytes(size))));
  Arena arena = Arena::Adopt(data, bytes, &FreeDevice);
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaMemset(data, 0, size), name()));
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(nullptr), name()));
  return arena;
}

absl::StatusOr<Arena> CudaDevice::AllocateStaging(int64_t bytes) {
  WEFT_RETURN_IF_ERROR(Use());
  void* data = nullptr;
  const int64_t size = std::max(bytes, kLeastBytes);
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaHostAlloc(&data, size, cudaHostAllocPortable),
                                  absl::StrCat("pinned host memory of ", HumanBytes(size))));
  std::fill_n(static_cast<std::byte*>(data), size, std::byte{0});
  return Arena::Adopt(data, bytes, &FreeHost);
}

absl::Status CudaDevice::Write(void* device, const void* host, int64_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  WEFT_RETURN_IF_ERROR(Use());
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice), name()));
  // From pageable memory the call may return before the last bytes have arrived.
  return CudaStatus(cudaStreamSynchronize(nullptr), name());
}

absl::Status CudaDevice::Read(void* host, const void* device, int64_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  WEFT_RETURN_IF_ERROR(Use());
  return CudaStatus(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost), name());
}

absl::StatusOr<std::unique_ptr<Stream>> CudaDevice::MakeStream(const std::string& name, int64_t,
                                                               Work work) {
  return CudaStream::Make(name, ordinal_, monitor_, work == Work::kTransfer);
}

absl::StatusOr<std::unique_ptr<TimeMarks>> CudaDevice::MakeTimeMarks(int64_t count) {
  return CudaTimeMarks::Make(ordinal_, count);
}

absl::StatusOr<std::unique_ptr<Communicator>> CudaDevice::MakeCommunicator(Transport& transport,
                                                                           std::vector<int> ranks,
                                                                           uint32_t tag) {
  return collectives_->MakeCommunicator(transport, std::move(ranks), tag);
}

Kernel CudaDevice::copy_kernel() const { return &Copy; }

// By the maker's data sheets, without sparsity; in tf32 it is half of what it is in 16 bits.
double CudaDevice::peak_flops(DType dtype, bool tf32) const {
  struct Sheet {
    const char* name;
    double f32, half;
  };
  constexpr Sheet kSheets[] = {{"H100 PCIe", 51.2e12, 756e12}, {"H100", 66.9e12, 989.4e12},
                               {"H200", 66.9e12, 989.4e12},    {"GH200", 66.9e12, 989.4e12},
                               {"A100", 19.5e12, 312e12},      {"B200", 75e12, 2250e12}};
  for (const Sheet& sheet : kSheets) {
    if (!absl::StrContains(facts_.name, sheet.name)) continue;
    if (dtype == DType::kF32) return tf32 ? sheet.half / 2 : sheet.f32;
    if (dtype == DType::kBF16 || dtype == DType::kF16) return sheet.half;
    return 0;
  }
  return 0;
}

}  // namespace weft
