// concat: operands one after the other along `axis`, which is whole on every rank (parts of operands
// and result would not align). Every other dimension may be split.
#include <string>

#include "graph/grad_context.h"
#include "kernels/infer.h"
#include "kernels/movement.h"
#include "kernels/op_list.h"
#include "runtime/status.h"

namespace weft {
namespace {

absl::Status ConcatCpu(const KernelContext& c) {
  const Operand& y = c.out(0);
  const int64_t attr = c.attrs->Int("axis");
  const size_t axis = attr < 0 ? attr + y.shape.size() : attr;
  const Shape strides = DenseStrides(y.shape);
  if (y.elements() == 0) return absl::OkStatus();
  int64_t begin = 0;
  for (const Operand& x : c.inputs) {
    WEFT_RETURN_IF_ERROR(DispatchSize(SizeOf(y.dtype()), [&](auto t) {
      using T = decltype(t);
      CopyStrided(x.as<T>(), DenseStrides(x.shape), y.as<T>() + begin * strides[axis], strides,
                  x.shape);
    }));
    begin += x.shape[axis];
  }
  return absl::OkStatus();
}

InferredSpecs InferConcat(const InferContext& c) {
  WEFT_ASSIGN_OR_RETURN(int axis, CheckedAxis(c, "axis"));
  TensorSpec y = c.in(0);
  y.shape[axis] = 0;
  for (int i = 0; i < c.num_inputs(); ++i) {
    TensorSpec want = c.in(0);
    if (c.in(i).rank() == want.rank()) want.shape[axis] = c.in(i).shape[axis];
    WEFT_RETURN_IF_ERROR(RequireSpec(c, i, want));
    y.shape[axis] += want.shape[axis];
  }
  return std::vector<TensorSpec>{y};
}

}  // namespace

void DefineConcat(OpRegistry& ops) {
  ops.Add({.name = "concat",
           .inputs = {"xs*"},
           .outputs = {"y"},
           .attrs = {{"axis", int64_t{0}}},
           .infer = InferConcat,
           .layout =
               [](const LayoutContext& c) {
                 FactorMap map = c.ElementwiseExcept(c.Axis("axis"));
                 std::vector<int> all;
                 for (int i = 0; i < c.num_inputs(); ++i) all.push_back(i);
                 AddMovementLinearity(map, all);
                 return map;
               },
           .gradient =
               [](GradContext& g) {
                 std::vector<Value> grads;
                 const Shape whole = g.spec(g.output(0)).shape;
                 const int64_t attr = g.attrs().Int("axis");
                 const size_t axis = attr < 0 ? attr + whole.size() : attr;
                 std::vector<int64_t> begins(whole.size(), 0), ends(whole.begin(), whole.end());
                 for (int i = 0; i < g.num_inputs(); ++i) {
                   ends[axis] = begins[axis] + g.spec(g.input(i)).shape[axis];
                   grads.push_back(
                       g.Emit1("slice", {g.output_grad(0)}, {{"begins", begins}, {"ends", ends}}));
                   begins[axis] = ends[axis];
                 }
                 return grads;
               },
           .cost = MovementCost,
           .cpu = ConcatCpu});
}

}  // namespace weft
