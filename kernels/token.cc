// token: says that x is made, in no bytes: what comes after it (Node::after) starts then. It lies as
// x does, but that it has no rows.
#include "absl/strings/str_cat.h"
#include "kernels/op_list.h"

namespace weft {

void DefineToken(OpRegistry& ops) {
  ops.Add({.name = "token",
           .inputs = {"x"},
           .outputs = {"made"},
           .infer = [](const InferContext& c) -> absl::StatusOr<std::vector<TensorSpec>> {
             TensorSpec made = c.in(0);
             if (made.rank() == 0) made.shape = {0};
             made.shape[0] = 0;
             return std::vector<TensorSpec>{made};
           },
           .layout =
               [](const LayoutContext& c) {
                 FactorMap map;
                 std::vector<int> dims;
                 for (int d = 0; d < c.in(0).rank(); ++d) {
                   dims.push_back(map.Add({.name = absl::StrCat("d", d)}));
                 }
                 map.inputs = {dims};
                 map.outputs = {dims.empty() ? std::vector<int>{kWhole} : dims};
                 map.linear = {{Monoid::kSum, {0}}};
                 return map;
               },
           .cost = [](const CostContext&) { return Cost{.flops = 1, .bytes = 1}; },
           .cpu = [](const KernelContext&) { return absl::OkStatus(); }});
}

}  // namespace weft
