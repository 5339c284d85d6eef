#include "tests/kernels/cuda_device.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda_handles.h"
#include "kernels/cuda_kernels.h"
#include "runtime/status.h"

namespace weft::testing {
namespace {

absl::Status Checked(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(std::string(what), ": ", cudaGetErrorString(error)));
}

constexpr int64_t kGuard = 256;

// Device copies of host buffers. Operands that share a host buffer share its copy.
class Mirror {
 public:
  ~Mirror() {
    for (auto& [host, copy] : copies_) (void)cudaFree(copy.memory);
  }

  absl::StatusOr<void*> Copy(void* host, int64_t bytes) {
    if (host == nullptr) return nullptr;
    auto [at, is_new] = copies_.try_emplace(host);
    if (!is_new) return at->second.device;
    at->second.bytes = bytes;
    const size_t offset = reinterpret_cast<uintptr_t>(host) % kAlignment;
    WEFT_RETURN_IF_ERROR(
        Checked(cudaMalloc(&at->second.memory, offset + bytes + kGuard), "cudaMalloc"));
    at->second.device = static_cast<char*>(at->second.memory) + offset;
    std::vector<char> image(bytes + kGuard, 0x5A);
    std::copy_n(static_cast<char*>(host), bytes, image.data());
    WEFT_RETURN_IF_ERROR(
        Checked(cudaMemcpy(at->second.device, image.data(), image.size(), cudaMemcpyHostToDevice),
                "copy to the device"));
    return at->second.device;
  }

  // Fetches every buffer; Internal if one was overrun.
  absl::Status Fetch(const std::string& op) {
    for (auto& [host, copy] : copies_) {
      std::vector<char> image(copy.bytes + kGuard);
      WEFT_RETURN_IF_ERROR(
          Checked(cudaMemcpy(image.data(), copy.device, image.size(), cudaMemcpyDeviceToHost),
                  "copy from the device"));
      std::copy_n(image.data(), copy.bytes, static_cast<char*>(host));
      for (int64_t i = copy.bytes; i < copy.bytes + kGuard; ++i) {
        if (image[i] != 0x5A) {
          return absl::InternalError(absl::StrCat(op, " wrote behind a buffer of ", copy.bytes));
        }
      }
    }
    return absl::OkStatus();
  }

 private:
  static constexpr size_t kAlignment = 16;
  struct Device {
    void* memory = nullptr;
    void* device = nullptr;  // within it
    int64_t bytes = 0;
  };
  std::map<void*, Device> copies_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CudaKernels>> CudaKernels::Make() {
  std::unique_ptr<CudaKernels> made(new CudaKernels);
  FillCudaKernels(made->table_);
  WEFT_ASSIGN_OR_RETURN(made->handles_, MakeCudaHandles(0));
  WEFT_RETURN_IF_ERROR(
      Checked(cudaStreamCreateWithFlags(&made->stream_, cudaStreamNonBlocking), "stream"));
  return made;
}

CudaKernels::~CudaKernels() {
  if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
}

int64_t CudaKernels::WorkspaceBytes(const OpDef& op, const CostContext& cost) const {
  const auto bytes = op.cuda_workspace != nullptr ? op.cuda_workspace : op.workspace;
  return bytes == nullptr ? 0 : bytes(cost);
}

absl::Status CudaKernels::Run(const OpDef& op, const KernelContext& host) {
  const Kernel kernel = table_.Find(op.name);
  if (kernel == nullptr) return absl::UnimplementedError(absl::StrCat("no CUDA kernel: ", op.name));
  return RunThere(op, {&host, 1}, [&](auto calls) { return kernel(*calls[0]); });
}

absl::Status CudaKernels::RunBatched(const OpDef& op, absl::Span<const KernelContext> contexts) {
  const BatchedKernel kernel = table_.FindBatched(op.name);
  if (kernel == nullptr) return absl::UnimplementedError(absl::StrCat("no batches: ", op.name));
  return RunThere(op, contexts, kernel);
}

absl::Status CudaKernels::RunThere(
    const OpDef& op, absl::Span<const KernelContext> contexts,
    absl::FunctionRef<absl::Status(absl::Span<const KernelContext* const>)> calls) {
  struct Call {
    KernelContext context;
    std::vector<Operand> inputs, outputs;
  };
  Mirror mirror;
  std::vector<Call> there(contexts.size());
  std::vector<const KernelContext*> pointers;
  for (size_t i = 0; i < contexts.size(); ++i) {
    const KernelContext& host = contexts[i];
    Call& call = there[i];
    call.context = host;
    call.inputs.assign(host.inputs.begin(), host.inputs.end());
    call.outputs.assign(host.outputs.begin(), host.outputs.end());
    for (std::vector<Operand>* operands : {&call.inputs, &call.outputs}) {
      for (Operand& x : *operands) {
        if (x.data == nullptr) continue;
        WEFT_ASSIGN_OR_RETURN(x.data, mirror.Copy(x.data, x.elements() * SizeOf(x.dtype())));
      }
    }
    call.context.inputs = call.inputs;
    call.context.outputs = call.outputs;
    WEFT_ASSIGN_OR_RETURN(call.context.workspace,
                          mirror.Copy(host.workspace, host.workspace_bytes));
    call.context.native_stream = stream_;
    call.context.device = handles_.get();
    pointers.push_back(&call.context);
  }
  WEFT_RETURN_IF_ERROR(calls(pointers));
  WEFT_RETURN_IF_ERROR(Checked(cudaStreamSynchronize(stream_), op.name));
  WEFT_RETURN_IF_ERROR(static_cast<CudaHandles&>(*handles_).TakeFault());
  return mirror.Fetch(op.name);
}

}  // namespace weft::testing
