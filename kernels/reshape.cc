// reshape: the same elements in row-major order under another shape. One extent may be -1.
#include <cstring>
#include <numeric>
#include <string>

#include "graph/grad_context.h"
#include "kernels/infer.h"
#include "kernels/movement.h"
#include "kernels/op_list.h"
#include "runtime/status.h"

namespace weft {
namespace {

absl::Status ReshapeCpu(const KernelContext& c) {
  const Operand& x = c.in(0);
  const Operand& y = c.out(0);
  if (x.elements() != y.elements()) {
    return absl::InternalError(absl::StrCat("boxes ", x.box->ToString(), " and ", y.box->ToString(),
                                            " hold different counts"));
  }
  if (y.elements() > 0 && x.data != y.data)
    std::memmove(y.data, x.data, y.elements() * SizeOf(y.dtype()));
  return absl::OkStatus();
}

InferredSpecs InferReshape(const InferContext& c) {
  const TensorSpec& x = c.in(0);
  std::vector<int64_t> shape = c.attrs.Ints("shape");
  int64_t known = 1;
  int free = -1;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == -1 && free < 0) {
      free = static_cast<int>(d);
    } else {
      WEFT_RETURN_IF_ERROR(RequireExtents({shape[d]}));
      known *= shape[d];
    }
  }
  if (free >= 0 && known > 0) shape[free] = x.elements() / known;
  WEFT_RETURN_IF_ERROR(RequireExtents(shape));
  TensorSpec y{Shape(shape.begin(), shape.end()), x.dtype};
  if (y.elements() != x.elements()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot reshape ", x.ToString(), " to ", ToString(absl::MakeConstSpan(shape)),
                     ": ", x.elements(), " against ", y.elements(), " elements"));
  }
  return std::vector<TensorSpec>{y};
}

// Dimensions of x and y are matched in the smallest groups of equal product. Within a group only
// the outermost dimensions can be cut, at places that both have; extents of 1 belong to no group.
FactorMap ReshapeLayout(const LayoutContext& c) {
  const Shape& x = c.in(0).shape;
  const Shape& y = c.outputs[0].shape;
  FactorMap map;
  map.inputs = {std::vector<int>(x.size(), kWhole)};
  map.outputs = {std::vector<int>(y.size(), kWhole)};
  AddMovementLinearity(map, {0});
  if (c.in(0).elements() == 0) return map;
  size_t i = 0, j = 0;
  while (true) {
    while (i < x.size() && x[i] == 1) ++i;
    while (j < y.size() && y[j] == 1) ++j;
    if (i == x.size() || j == y.size()) return map;
    const size_t first_x = i, first_y = j;
    int64_t nx = x[i++], ny = y[j++];
    while (nx != ny) {
      if (nx < ny) {
        nx *= x[i++];
      } else {
        ny *= y[j++];
      }
    }
    Factor factor{.name = absl::StrCat("d", first_x)};
    if (x[first_x] != y[first_y]) {
      factor.must_divide = std::gcd(x[first_x], y[first_y]);
      factor.zigzag = false;
    }
    if (factor.must_divide == 1) continue;
    map.inputs[0][first_x] = map.outputs[0][first_y] = map.Add(factor);
  }
}

}  // namespace

void DefineReshape(OpRegistry& ops) {
  ops.Add({.name = "reshape",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"shape", std::vector<int64_t>()}},
           .infer = InferReshape,
           .layout = ReshapeLayout,
           .gradient =
               [](GradContext& g) {
                 const Shape& shape = g.spec(g.input(0)).shape;
                 return g.Emit("reshape", {g.output_grad(0)},
                               {{"shape", std::vector<int64_t>(shape.begin(), shape.end())}});
               },
           .cost = MovementCost,
           .cpu = ReshapeCpu,
           .in_place = {{0, 0}}});
}

}  // namespace weft
