// slice(x; begins, ends) takes a rectangle of x; pad(x; begins, shape) puts x into a larger tensor
// of zeros at `begins`. Each is the other's gradient. Every dimension may be split but those that are
// cut or padded: these are whole on every rank, since their parts in x and y would not align.
#include <cstring>

#include "graph/grad_context.h"
#include "kernels/infer.h"
#include "kernels/movement.h"
#include "kernels/op_list.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Element offset of the rectangle's corner in the larger tensor. Dimensions that are not cut start
// at 0 in every part.
int64_t Corner(const std::vector<int64_t>& begins, const Shape& strides) {
  int64_t offset = 0;
  for (size_t d = 0; d < begins.size(); ++d) offset += begins[d] * strides[d];
  return offset;
}

absl::Status SliceCpu(const KernelContext& c) {
  if (c.out(0).elements() == 0) return absl::OkStatus();
  const Shape strides = DenseStrides(c.in(0).shape);
  const Shape& shape = c.out(0).shape;
  const int64_t corner = Corner(c.attrs->Ints("begins"), strides);
  return DispatchSize(SizeOf(c.out(0).dtype()), [&](auto t) {
    using T = decltype(t);
    CopyStrided(c.in(0).as<T>() + corner, strides, c.out(0).as<T>(), DenseStrides(shape), shape);
  });
}

absl::Status PadCpu(const KernelContext& c) {
  const Operand& y = c.out(0);
  if (y.elements() == 0) return absl::OkStatus();
  std::memset(y.data, 0, y.elements() * SizeOf(y.dtype()));
  const Shape strides = DenseStrides(y.shape);
  const Shape& shape = c.in(0).shape;
  const int64_t corner = Corner(c.attrs->Ints("begins"), strides);
  return DispatchSize(SizeOf(y.dtype()), [&](auto t) {
    using T = decltype(t);
    CopyStrided(c.in(0).as<T>(), DenseStrides(shape), y.as<T>() + corner, strides, shape);
  });
}

InferredSpecs InferSlice(const InferContext& c) {
  const TensorSpec& x = c.in(0);
  const std::vector<int64_t>& begins = c.attrs.Ints("begins");
  const std::vector<int64_t>& ends = c.attrs.Ints("ends");
  TensorSpec y{.dtype = x.dtype};
  bool fits = static_cast<int>(begins.size()) == x.rank() && ends.size() == begins.size();
  for (int d = 0; fits && d < x.rank(); ++d) {
    fits = 0 <= begins[d] && begins[d] <= ends[d] && ends[d] <= x.shape[d];
    y.shape.push_back(ends[d] - begins[d]);
  }
  if (!fits) {
    return absl::InvalidArgumentError(
        absl::StrCat("slice from ", ToString(absl::MakeConstSpan(begins)), " to ",
                     ToString(absl::MakeConstSpan(ends)), " does not lie inside ", x.ToString()));
  }
  return std::vector<TensorSpec>{y};
}

InferredSpecs InferPad(const InferContext& c) {
  const TensorSpec& x = c.in(0);
  const std::vector<int64_t>& begins = c.attrs.Ints("begins");
  const std::vector<int64_t>& shape = c.attrs.Ints("shape");
  WEFT_RETURN_IF_ERROR(RequireExtents(shape));
  bool fits = static_cast<int>(begins.size()) == x.rank() && shape.size() == begins.size();
  for (int d = 0; fits && d < x.rank(); ++d) {
    fits = 0 <= begins[d] && begins[d] <= shape[d] - x.shape[d];
  }
  if (!fits) {
    return absl::InvalidArgumentError(
        absl::StrCat(x.ToString(), " at ", ToString(absl::MakeConstSpan(begins)),
                     " does not fit into ", ToString(absl::MakeConstSpan(shape))));
  }
  return std::vector<TensorSpec>{{Shape(shape.begin(), shape.end()), x.dtype}};
}

FactorMap SameDims(const LayoutContext& c) {
  FactorMap map;
  std::vector<int> dims;
  for (int d = 0; d < c.in(0).rank(); ++d) {
    const bool same = c.in(0).shape[d] == c.outputs[0].shape[d];
    dims.push_back(same ? map.Add({.name = absl::StrCat("d", d)}) : kWhole);
  }
  map.inputs = {dims};
  map.outputs = {dims};
  return map;
}

std::vector<int64_t> ShapeOf(GradContext& g, Value value) {
  const Shape& shape = g.spec(value).shape;
  return {shape.begin(), shape.end()};
}

}  // namespace

void DefineSlice(OpRegistry& ops) {
  ops.Add({.name = "slice",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"begins", std::vector<int64_t>()}, {"ends", std::vector<int64_t>()}},
           .infer = InferSlice,
           .layout =
               [](const LayoutContext& c) {
                 FactorMap map = SameDims(c);
                 AddMovementLinearity(map, {0});
                 return map;
               },
           .gradient =
               [](GradContext& g) {
                 return g.Emit(
                     "pad", {g.output_grad(0)},
                     {{"begins", g.attrs().Ints("begins")}, {"shape", ShapeOf(g, g.input(0))}});
               },
           .cost = MovementCost,
           .cpu = SliceCpu});
  ops.Add({.name = "pad",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"begins", std::vector<int64_t>()}, {"shape", std::vector<int64_t>()}},
           .infer = InferPad,
           .layout =
               [](const LayoutContext& c) {
                 FactorMap map = SameDims(c);
                 map.linear = {{.monoid = Monoid::kSum, .inputs = {0}}};
                 return map;
               },
           .gradient =
               [](GradContext& g) {
                 std::vector<int64_t> ends = g.attrs().Ints("begins");
                 const Shape& shape = g.spec(g.input(0)).shape;
                 for (size_t d = 0; d < ends.size(); ++d) ends[d] += shape[d];
                 return g.Emit("slice", {g.output_grad(0)},
                               {{"begins", g.attrs().Ints("begins")}, {"ends", ends}});
               },
           .cost = MovementCost,
           .cpu = PadCpu});
}

}  // namespace weft
