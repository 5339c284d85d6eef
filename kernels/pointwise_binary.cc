// Element-wise functions of two tensors, broadcasting as numpy does.
#include <type_traits>

#include "graph/grad_context.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/strided.h"
#include "kernels/vector_loops.h"
#include "runtime/status.h"

namespace weft {
namespace {

struct Add {
  template <class C>
  C operator()(C a, C b) const {
    return a + b;
  }
};
struct Sub {
  template <class C>
  C operator()(C a, C b) const {
    return a - b;
  }
};
struct Mul {
  template <class C>
  C operator()(C a, C b) const {
    return a * b;
  }
};
struct Div {
  template <class C>
  C operator()(C a, C b) const {
    return a / b;
  }
};
struct Maximum {
  template <class C>
  C operator()(C a, C b) const {
    return a < b ? b : a;
  }
};
struct Equal {
  template <class C>
  C operator()(C a, C b) const {
    return C(a == b);
  }
};

// One row; strides are 1 or 0 where it matters for speed.
template <typename Function, typename T>
void BinaryRow(const T* a, int64_t sa, const T* b, int64_t sb, T* y, int64_t sy, int64_t n) {
  const Function f;
  if (sy == 1 && sa == 1 && sb == 1) {
    if constexpr (std::is_same_v<Function, Add>) {
      AddLoop(a, b, y, n);
    } else {
      for (int64_t i = 0; i < n; ++i) y[i] = T(f(Load(a[i]), Load(b[i])));
    }
  } else if (sy == 1 && sa == 1 && sb == 0) {
    const auto value = Load(*b);
    for (int64_t i = 0; i < n; ++i) y[i] = T(f(Load(a[i]), value));
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * sy] = T(f(Load(a[i * sa]), Load(b[i * sb])));
  }
}

template <typename Function>
absl::Status BinaryCpu(const KernelContext& c) {
  return DispatchFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    const T* a = c.in(0).as<T>();
    const T* b = c.in(1).as<T>();
    T* y = c.out(0).as<T>();
    const Shape& shape = c.out(0).shape;
    ForEachRow<3>(shape,
                  {BroadcastStrides(c.in(0), c.out(0)), BroadcastStrides(c.in(1), c.out(0)),
                   DenseStrides(shape)},
                  [&](const auto& at, const auto& step, int64_t n) {
                    BinaryRow<Function>(a + at[0], step[0], b + at[1], step[1], y + at[2], step[2],
                                        n);
                  });
  });
}

InferredSpecs InferBinary(const InferContext& c) {
  WEFT_RETURN_IF_ERROR(RequireFloat(c.in(0)));
  WEFT_ASSIGN_OR_RETURN(Shape shape, BroadcastShape(c.in(0), c.in(1)));
  if (c.in(0).dtype != c.in(1).dtype) {
    return absl::InvalidArgumentError(absl::StrCat("operands ", c.in(0).ToString(), " and ",
                                                   c.in(1).ToString(),
                                                   " differ in dtype; cast one of them"));
  }
  return std::vector<TensorSpec>{{shape, c.in(0).dtype}};
}

// Gradients of the two operands, summed over the dimensions along which each was broadcast.
std::vector<Value> Reduced(GradContext& g, Value da, Value db) {
  return {g.ReduceTo(da, g.spec(g.input(0))), g.ReduceTo(db, g.spec(g.input(1)))};
}

void AddBinary(OpRegistry& ops, const char* name, decltype(OpDef::layout) layout,
               decltype(OpDef::gradient) gradient, Kernel cpu, bool sums_operands = false) {
  ops.Add({.name = name,
           .inputs = {"a", "b"},
           .outputs = {"y"},
           .infer = InferBinary,
           .layout = layout,
           .gradient = gradient,
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 1); },
           .cpu = cpu,
           .in_place = {{0, 0}, {1, 0}},
           .sums_operands = sums_operands});
}

FactorMap LinearTogether(const LayoutContext& c) {
  FactorMap map = c.Elementwise();
  map.linear.push_back({.monoid = Monoid::kSum, .inputs = {0, 1}});
  return map;
}

FactorMap Bilinear(const LayoutContext& c) {
  FactorMap map = c.Elementwise();
  map.linear.push_back({.monoid = Monoid::kSum, .inputs = {0}});
  map.linear.push_back({.monoid = Monoid::kSum, .inputs = {1}});
  return map;
}

}  // namespace

void DefineBinary(OpRegistry& ops) {
  AddBinary(
      ops, "add", LinearTogether,
      [](GradContext& g) { return Reduced(g, g.output_grad(0), g.output_grad(0)); }, BinaryCpu<Add>,
      /*sums_operands=*/true);
  AddBinary(
      ops, "sub", LinearTogether,
      [](GradContext& g) {
        return Reduced(g, g.output_grad(0), g.Emit1("neg", {g.output_grad(0)}));
      },
      BinaryCpu<Sub>);
  AddBinary(
      ops, "mul", Bilinear,
      [](GradContext& g) {
        return Reduced(g, g.Emit1("mul", {g.output_grad(0), g.input(1)}),
                       g.Emit1("mul", {g.output_grad(0), g.input(0)}));
      },
      BinaryCpu<Mul>);
  AddBinary(
      ops, "div", [](const LayoutContext& c) { return ElementwiseLinear(c, 0); },
      [](GradContext& g) {
        const Value da = g.Emit1("div", {g.output_grad(0), g.input(1)});
        const Value db = g.Emit1("neg", {g.Emit1("mul", {da, g.output(0)})});
        return Reduced(g, da, db);
      },
      BinaryCpu<Div>);
  // Where both are equal, all of the gradient goes to a.
  AddBinary(
      ops, "maximum",
      [](const LayoutContext& c) {
        FactorMap map = c.Elementwise();
        map.linear.push_back({.monoid = Monoid::kMax, .inputs = {0, 1}});
        return map;
      },
      [](GradContext& g) {
        const Value from_a = g.Emit1("equal", {g.output(0), g.input(0)});
        const Value da = g.Emit1("mul", {g.output_grad(0), from_a});
        return Reduced(g, da, g.Emit1("sub", {g.output_grad(0), da}));
      },
      BinaryCpu<Maximum>);
  // 1 where equal, else 0, in the operands' dtype.
  AddBinary(
      ops, "equal", [](const LayoutContext& c) { return c.Elementwise(); }, nullptr,
      BinaryCpu<Equal>);
}

}  // namespace weft
