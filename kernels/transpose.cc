// transpose: dimension d of the result is dimension perm[d] of x.
#include "graph/grad_context.h"
#include "kernels/infer.h"
#include "kernels/movement.h"
#include "kernels/op_list.h"
#include "runtime/status.h"

namespace weft {
namespace {

absl::Status TransposeCpu(const KernelContext& c) {
  const std::vector<int64_t>& perm = c.attrs->Ints("perm");
  const Shape dense = DenseStrides(c.in(0).shape);
  Shape from;
  for (int64_t d : perm) from.push_back(dense[d < 0 ? d + dense.size() : d]);
  const Shape& shape = c.out(0).shape;
  return DispatchSize(SizeOf(c.out(0).dtype()), [&](auto t) {
    using T = decltype(t);
    CopyStrided(c.in(0).as<T>(), from, c.out(0).as<T>(), DenseStrides(shape), shape);
  });
}

InferredSpecs InferTranspose(const InferContext& c) {
  const TensorSpec& x = c.in(0);
  const std::vector<int64_t>& perm = c.attrs.Ints("perm");
  if (static_cast<int>(perm.size()) != x.rank()) {
    return absl::InvalidArgumentError(absl::StrCat("perm ", ToString(absl::MakeConstSpan(perm)),
                                                   " must name each dimension of ", x.ToString(),
                                                   " once"));
  }
  WEFT_ASSIGN_OR_RETURN(std::vector<int> dims, Axes(perm, x.rank()));
  TensorSpec y{.dtype = x.dtype};
  for (int d : dims) y.shape.push_back(x.shape[d]);
  return std::vector<TensorSpec>{y};
}

}  // namespace

void DefineTranspose(OpRegistry& ops) {
  ops.Add({.name = "transpose",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"perm", std::vector<int64_t>()}},
           .infer = InferTranspose,
           .layout =
               [](const LayoutContext& c) {
                 FactorMap map;
                 std::vector<int> x, y;
                 for (int d = 0; d < c.in(0).rank(); ++d) {
                   x.push_back(map.Add({.name = absl::StrCat("d", d)}));
                 }
                 for (int64_t d : c.attrs.Ints("perm")) {
                   y.push_back(x[d < 0 ? d + x.size() : d]);
                 }
                 map.inputs = {x};
                 map.outputs = {y};
                 AddMovementLinearity(map, {0});
                 return map;
               },
           .gradient =
               [](GradContext& g) {
                 const std::vector<int64_t>& perm = g.attrs().Ints("perm");
                 const int64_t rank = static_cast<int64_t>(perm.size());
                 std::vector<int64_t> inverse(perm.size());
                 for (int64_t d = 0; d < rank; ++d) inverse[(perm[d] + rank) % rank] = d;
                 return g.Emit("transpose", {g.output_grad(0)}, {{"perm", inverse}});
               },
           .cost = MovementCost,
           .cpu = TransposeCpu});
}

}  // namespace weft
