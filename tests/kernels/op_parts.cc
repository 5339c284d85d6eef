#include "tests/kernels/op_parts.h"

#include "runtime/status.h"
#include "tests/support/layout_parts.h"

namespace weft::testing {
namespace {

// What the axes do to operand or result i.
GridLayout LayoutOf(const std::vector<Signature>& per_axis, const std::vector<int>& sizes,
                    bool input, size_t i) {
  GridLayout layout{{}, sizes};
  for (const Signature& s : per_axis) layout.sbps.push_back(input ? s.inputs[i] : s.outputs[i]);
  return layout;
}

}  // namespace

absl::StatusOr<std::vector<HostTensor>> RunParts(const OpDef& op, const Attrs& attrs,
                                                 const std::vector<HostTensor>& inputs,
                                                 const std::vector<TensorSpec>& results,
                                                 const std::vector<Signature>& per_axis,
                                                 const std::vector<int>& sizes) {
  int ranks = 1;
  for (int size : sizes) ranks *= size;
  std::vector<std::vector<HostTensor>> parts(results.size());
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<HostTensor> local;
    for (size_t i = 0; i < inputs.size(); ++i) {
      local.push_back(PartAt(inputs[i], LayoutOf(per_axis, sizes, true, i), rank, i));
    }
    RunOptions options;
    for (size_t o = 0; o < results.size(); ++o) {
      options.boxes.push_back(BoxAt(results[o], LayoutOf(per_axis, sizes, false, o), rank));
    }
    WEFT_ASSIGN_OR_RETURN(std::vector<HostTensor> made, RunKernel(op, attrs, local, options));
    for (size_t o = 0; o < results.size(); ++o) parts[o].push_back(std::move(made[o]));
  }
  std::vector<HostTensor> joined;
  for (size_t o = 0; o < results.size(); ++o) {
    WEFT_ASSIGN_OR_RETURN(HostTensor whole,
                          Join(results[o], LayoutOf(per_axis, sizes, false, o), parts[o]));
    joined.push_back(std::move(whole));
  }
  return joined;
}

}  // namespace weft::testing
