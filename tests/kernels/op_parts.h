// Runs an op on the parts that signatures make of its operands, one signature per mesh axis, and
// joins the parts' results: the two halves of the law "split, run, join = run unsplit".
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "graph/layout.h"
#include "graph/op_def.h"
#include "graph/signature.h"
#include "tests/support/host_tensor.h"

namespace weft::testing {

// The op's results over all ranks of a mesh with these axis sizes, joined to whole tensors. Partial
// operands are given as random summands (or, for max, as values one of which is the tensor's).
// Errors: those of the kernel; Internal if copies differ or an element is made by no rank.
absl::StatusOr<std::vector<HostTensor>> RunParts(const OpDef& op, const Attrs& attrs,
                                                 const std::vector<HostTensor>& inputs,
                                                 const std::vector<TensorSpec>& results,
                                                 const std::vector<Signature>& per_axis,
                                                 const std::vector<int>& sizes);

}  // namespace weft::testing
