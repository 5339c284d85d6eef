// Checks shared by the `infer` functions of ops: shapes in, shapes out, or an error that names
// both.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "graph/op_def.h"
#include "runtime/tensor_spec.h"

namespace weft {

using InferredSpecs = absl::StatusOr<std::vector<TensorSpec>>;

// Shape of a numpy-style broadcast of two shapes.
absl::StatusOr<Shape> BroadcastShape(const TensorSpec& a, const TensorSpec& b);
// Every input has the spec of input 0; that spec as the only output.
InferredSpecs SameSpecs(const InferContext& c);
// As SameSpecs, for ops computed in floats.
InferredSpecs SameFloatSpecs(const InferContext& c);
// Error unless the dtype is a float that kernels compute in.
absl::Status RequireFloat(const TensorSpec& spec);
// Error unless input `i` has this shape and dtype.
absl::Status RequireSpec(const InferContext& c, int i, const TensorSpec& want);
// The int-list attribute as distinct dimensions of a tensor of `rank`, negative from the end.
absl::StatusOr<std::vector<int>> Axes(const std::vector<int64_t>& axes, int rank);
// As InferContext::Axis, or an error if input 0 has no such dimension.
absl::StatusOr<int> CheckedAxis(const InferContext& c, const char* name);
// Error unless all extents are >= 0 and their product fits.
absl::Status RequireExtents(const std::vector<int64_t>& shape);

// Cost of `flops_per_element` operations per element of result 0, all operands touched once.
Cost ElementwiseCost(const CostContext& c, double flops_per_element);

// Layout of ops whose results keep every dimension of their operands and are linear in input `x`
// alone (all other inputs broadcast).
FactorMap ElementwiseLinear(const LayoutContext& c, int x);

}  // namespace weft
