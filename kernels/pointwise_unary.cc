// Element-wise functions of one tensor and their gradient ops: one row of a table each.
#include <cmath>
#include <string>

#include "graph/grad_context.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"

namespace weft {
namespace {

// Functions of x. C is float or double.
struct Neg {
  template <class C>
  C operator()(C x) const {
    return -x;
  }
};
struct Exp {
  template <class C>
  C operator()(C x) const {
    return std::exp(x);
  }
};
struct Log {
  template <class C>
  C operator()(C x) const {
    return std::log(x);
  }
};
struct Sqrt {
  template <class C>
  C operator()(C x) const {
    return std::sqrt(x);
  }
};
struct Rsqrt {
  template <class C>
  C operator()(C x) const {
    return C(1) / std::sqrt(x);
  }
};
struct Square {
  template <class C>
  C operator()(C x) const {
    return x * x;
  }
};
struct Sigmoid {
  template <class C>
  C operator()(C x) const {
    return C(1) / (C(1) + std::exp(-x));
  }
};
struct Tanh {
  template <class C>
  C operator()(C x) const {
    return std::tanh(x);
  }
};
struct Relu {
  template <class C>
  C operator()(C x) const {
    return x < C(0) ? C(0) : x;
  }
};
struct Silu {
  template <class C>
  C operator()(C x) const {
    return x / (C(1) + std::exp(-x));
  }
};

// Gradients from y (where the result is the cheaper witness) or from x.
struct RsqrtGrad {
  template <class C>
  C operator()(C y, C dy) const {
    return C(-0.5) * y * y * y * dy;
  }
};
struct SigmoidGrad {
  template <class C>
  C operator()(C y, C dy) const {
    return y * (C(1) - y) * dy;
  }
};
struct TanhGrad {
  template <class C>
  C operator()(C y, C dy) const {
    return (C(1) - y * y) * dy;
  }
};
struct ReluGrad {
  template <class C>
  C operator()(C y, C dy) const {
    return y > C(0) ? dy : C(0);
  }
};
struct SiluGrad {
  template <class C>
  C operator()(C x, C dy) const {
    const C s = C(1) / (C(1) + std::exp(-x));
    return s * (C(1) + x * (C(1) - s)) * dy;
  }
};

template <typename Function>
absl::Status UnaryCpu(const KernelContext& c) {
  return DispatchFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    const T* x = c.in(0).as<T>();
    T* y = c.out(0).as<T>();
    const int64_t n = c.out(0).elements();
    for (int64_t i = 0; i < n; ++i) y[i] = T(Function()(Load(x[i])));
  });
}

template <typename Function>
absl::Status UnaryGradCpu(const KernelContext& c) {
  return DispatchFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    const T* witness = c.in(0).as<T>();
    const T* dy = c.in(1).as<T>();
    T* dx = c.out(0).as<T>();
    const int64_t n = c.out(0).elements();
    for (int64_t i = 0; i < n; ++i) dx[i] = T(Function()(Load(witness[i]), Load(dy[i])));
  });
}

absl::Status ScaleCpu(const KernelContext& c) {
  return DispatchFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    using C = ArithmeticOf<T>;
    const C factor = static_cast<C>(c.attrs->Float("factor"));
    const T* x = c.in(0).as<T>();
    T* y = c.out(0).as<T>();
    const int64_t n = c.out(0).elements();
    for (int64_t i = 0; i < n; ++i) y[i] = T(Load(x[i]) * factor);
  });
}

using Gradient = std::vector<Value> (*)(GradContext&);
using LayoutRule = FactorMap (*)(const LayoutContext&);

FactorMap Plain(const LayoutContext& c) { return c.Elementwise(); }
FactorMap LinearInX(const LayoutContext& c) { return ElementwiseLinear(c, 0); }
FactorMap LinearInDy(const LayoutContext& c) { return ElementwiseLinear(c, 1); }
Cost CheapCost(const CostContext& c) { return ElementwiseCost(c, 2); }
Cost TranscendentalCost(const CostContext& c) { return ElementwiseCost(c, 12); }

void AddUnary(OpRegistry& ops, const char* name, Kernel cpu, Gradient gradient,
              decltype(OpDef::cost) cost, LayoutRule layout = Plain) {
  ops.Add({.name = name,
           .inputs = {"x"},
           .outputs = {"y"},
           .infer = SameFloatSpecs,
           .layout = layout,
           .gradient = gradient,
           .cost = cost,
           .cpu = cpu,
           .in_place = {{0, 0}}});
}

void AddUnaryGrad(OpRegistry& ops, const char* name, const char* witness, Kernel cpu) {
  ops.Add({.name = name,
           .inputs = {witness, "dy"},
           .outputs = {"dx"},
           .infer = SameFloatSpecs,
           .layout = LinearInDy,
           .cost = TranscendentalCost,
           .cpu = cpu,
           .in_place = {{0, 0}, {1, 0}}});
}

}  // namespace

void DefineUnary(OpRegistry& ops) {
  AddUnary(
      ops, "neg", UnaryCpu<Neg>, [](GradContext& g) { return g.Emit("neg", {g.output_grad(0)}); },
      CheapCost, LinearInX);
  AddUnary(
      ops, "exp", UnaryCpu<Exp>,
      [](GradContext& g) {
        return g.Emit("mul", {g.output_grad(0), g.output(0)});
      },
      TranscendentalCost);
  AddUnary(
      ops, "log", UnaryCpu<Log>,
      [](GradContext& g) {
        return g.Emit("div", {g.output_grad(0), g.input(0)});
      },
      TranscendentalCost);
  AddUnary(
      ops, "sqrt", UnaryCpu<Sqrt>,
      [](GradContext& g) {
        const Value half = g.Emit1("scale", {g.output_grad(0)}, {{"factor", 0.5}});
        return g.Emit("div", {half, g.output(0)});
      },
      CheapCost);
  AddUnary(
      ops, "rsqrt", UnaryCpu<Rsqrt>,
      [](GradContext& g) {
        return g.Emit("rsqrt_grad", {g.output(0), g.output_grad(0)});
      },
      CheapCost);
  AddUnary(
      ops, "square", UnaryCpu<Square>,
      [](GradContext& g) {
        const Value twice = g.Emit1("scale", {g.output_grad(0)}, {{"factor", 2.0}});
        return g.Emit("mul", {twice, g.input(0)});
      },
      CheapCost);
  AddUnary(
      ops, "sigmoid", UnaryCpu<Sigmoid>,
      [](GradContext& g) {
        return g.Emit("sigmoid_grad", {g.output(0), g.output_grad(0)});
      },
      TranscendentalCost);
  AddUnary(
      ops, "tanh", UnaryCpu<Tanh>,
      [](GradContext& g) {
        return g.Emit("tanh_grad", {g.output(0), g.output_grad(0)});
      },
      TranscendentalCost);
  AddUnary(
      ops, "relu", UnaryCpu<Relu>,
      [](GradContext& g) {
        return g.Emit("relu_grad", {g.output(0), g.output_grad(0)});
      },
      CheapCost);
  AddUnary(
      ops, "silu", UnaryCpu<Silu>,
      [](GradContext& g) {
        return g.Emit("silu_grad", {g.input(0), g.output_grad(0)});
      },
      TranscendentalCost);
  AddUnaryGrad(ops, "rsqrt_grad", "y", UnaryGradCpu<RsqrtGrad>);
  AddUnaryGrad(ops, "sigmoid_grad", "y", UnaryGradCpu<SigmoidGrad>);
  AddUnaryGrad(ops, "tanh_grad", "y", UnaryGradCpu<TanhGrad>);
  AddUnaryGrad(ops, "relu_grad", "y", UnaryGradCpu<ReluGrad>);
  AddUnaryGrad(ops, "silu_grad", "x", UnaryGradCpu<SiluGrad>);
  ops.Add(
      {.name = "scale",
       .inputs = {"x"},
       .outputs = {"y"},
       .attrs = {{"factor", 1.0}},
       .infer = SameFloatSpecs,
       .layout = LinearInX,
       .gradient = [](GradContext& g) { return g.Emit("scale", {g.output_grad(0)}, g.attrs()); },
       .cost = CheapCost,
       .cpu = ScaleCpu,
       .in_place = {{0, 0}}});
}

}  // namespace weft
