// ProductMeasurer: how a device finds out which algorithm is the fastest for a matrix product.
// Sessions see this alone; the CUDA build has the one implementation.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/product_algorithms.h"
#include "runtime/kernel.h"

namespace weft {

// Used by the rank's thread, while no step runs.
class ProductMeasurer {
 public:
  virtual ~ProductMeasurer() = default;

  // Device and library, for which algorithms are valid: "NVIDIA H200, cuBLASLt 130100".
  virtual std::string machine() const = 0;
  // Adds the products that this call of a kernel would do; does nothing else. A kernel without
  // products adds none. Errors: the kernel's own.
  virtual absl::Status List(std::string_view name, Kernel kernel, const KernelContext& context,
                            ProductSet& products) = 0;
  // Whether the library takes the algorithm for the product.
  virtual absl::StatusOr<bool> Accepts(const ProductKey& key,
                                       const ProductAlgorithm& algorithm) = 0;
  // The fastest of the library's candidates, timed on memory of its own. Nothing where the device
  // has not the memory, or the library no algorithm. Errors: the device's.
  virtual absl::StatusOr<std::optional<ProductAlgorithm>> Measure(const ProductKey& key) = 0;
  // From here on these products use these algorithms, and all others the library's first guess.
  // Gives back what measuring took.
  virtual void Adopt(ProductAlgorithms algorithms) = 0;
};

}  // namespace weft
