// The CUDA device as tests of kernels see it: operands go to guarded device memory, the op's CUDA
// kernel runs, results come back.
#pragma once

#include <cuda_runtime.h>

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/kernel.h"
#include "tests/support/kernel_device.h"

namespace weft::testing {

class CudaKernels : public KernelDevice {
 public:
  // On device 0. Errors: no device, or what MakeCudaHandles says.
  static absl::StatusOr<std::unique_ptr<CudaKernels>> Make();
  ~CudaKernels() override;

  int64_t WorkspaceBytes(const OpDef& op, const CostContext& cost) const override;
  // Internal if the kernel wrote behind a buffer.
  absl::Status Run(const OpDef& op, const KernelContext& context) override;
  // As Run, for calls that are independent of each other, by the batched form of the op's kernel.
  // Device memory is aligned to 16 bytes as the host's is.
  absl::Status RunBatched(const OpDef& op, absl::Span<const KernelContext> contexts);

  const KernelTable& table() const { return table_; }

 private:
  CudaKernels() = default;
  // Copies in, calls(contexts on the device), copies out.
  absl::Status RunThere(
      const OpDef& op, absl::Span<const KernelContext> contexts,
      absl::FunctionRef<absl::Status(absl::Span<const KernelContext* const>)> calls);

  KernelTable table_;
  std::unique_ptr<DeviceState> handles_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace weft::testing
