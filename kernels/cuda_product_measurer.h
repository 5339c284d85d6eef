// Times cuBLASLt's algorithms for matrix products on the GPU: hot, on random numbers of normal
// scale, for zeros need less power and flatter.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda_handles.h"
#include "kernels/product_measurer.h"
#include "runtime/dtype.h"

namespace weft {

class CudaProductMeasurer final : public ProductMeasurer {
 public:
  // `handles` are those of the rank's kernels and outlive this. Errors: CUDA's own.
  static absl::StatusOr<std::unique_ptr<ProductMeasurer>> Make(CudaHandles& handles);
  ~CudaProductMeasurer() override;

  std::string machine() const override { return machine_; }
  absl::Status List(std::string_view name, Kernel kernel, const KernelContext& context,
                    ProductSet& products) override;
  absl::StatusOr<bool> Accepts(const ProductKey& key, const ProductAlgorithm& algorithm) override;
  absl::StatusOr<std::optional<ProductAlgorithm>> Measure(const ProductKey& key) override;
  void Adopt(ProductAlgorithms algorithms) override;

 private:
  // A product of a key, on this measurer's memory.
  struct Call;

  explicit CudaProductMeasurer(CudaHandles& handles) : handles_(handles) {}
  // The product on memory at `base`, or on none, in whose place stand addresses nobody looks at.
  Call CallOf(const ProductKey& key, char* base) const;
  // Whether MatmulCuda makes the key of the call: not of strides along extents of 1, say.
  absl::StatusOr<bool> Matches(const ProductKey& key, const Call& call);
  // False where the device has not so much to spare.
  absl::StatusOr<bool> MakeRoom(int64_t bytes);
  absl::Status Fill(void* data, DType dtype, int64_t elements, int64_t seed);
  // Seconds of each of `calls` calls by the plan, behind one that does not count.
  absl::StatusOr<double> Time(const ProductKey& key, const Call& call, const MatmulPlan& plan,
                              int calls);
  absl::StatusOr<std::vector<double>> TimeAll(const ProductKey& key, const Call& call,
                                              const std::vector<MatmulPlan>& plans);
  void Release();

  CudaHandles& handles_;
  KernelTable kernels_;  // those that fill memory
  std::string machine_;
  cudaStream_t stream_ = nullptr;
  std::array<cudaEvent_t, 2> events_{};
  void* memory_ = nullptr;
  int64_t bytes_ = 0;
  bool hot_ = false;  // the device has worked for a while
};

}  // namespace weft
