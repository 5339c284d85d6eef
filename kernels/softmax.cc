// softmax along one dimension, which must be whole on every rank. A row of -inf gives zeros.
#include <cmath>
#include <limits>

#include "graph/grad_context.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "runtime/status.h"

namespace weft {
namespace {

// The local tensor seen as [outer, n, inner] around the axis.
struct AxisView {
  int64_t outer = 1, n = 1, inner = 1;
  AxisView(const Operand& x, int64_t axis) {
    const int64_t rank = static_cast<int64_t>(x.shape.size());
    if (axis < 0) axis += rank;
    for (int64_t d = 0; d < axis; ++d) outer *= x.shape[d];
    n = x.shape[axis];
    for (int64_t d = axis + 1; d < rank; ++d) inner *= x.shape[d];
  }
};

template <typename T>
void SoftmaxRow(const T* x, T* y, int64_t n, int64_t stride) {
  using C = ArithmeticOf<T>;
  C max = -std::numeric_limits<C>::infinity();
  for (int64_t i = 0; i < n; ++i) max = std::max(max, Load(x[i * stride]));
  if (max == -std::numeric_limits<C>::infinity()) {
    for (int64_t i = 0; i < n; ++i) y[i * stride] = T(C(0));
    return;
  }
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(Load(x[i * stride]) - max);
  const C scale = static_cast<C>(1 / sum);
  for (int64_t i = 0; i < n; ++i) y[i * stride] = T(std::exp(Load(x[i * stride]) - max) * scale);
}

template <typename T>
void SoftmaxGradRow(const T* y, const T* dy, T* dx, int64_t n, int64_t stride) {
  using C = ArithmeticOf<T>;
  double dot = 0;
  for (int64_t i = 0; i < n; ++i) dot += Load(y[i * stride]) * Load(dy[i * stride]);
  for (int64_t i = 0; i < n; ++i) {
    dx[i * stride] = T(Load(y[i * stride]) * (Load(dy[i * stride]) - static_cast<C>(dot)));
  }
}

absl::Status SoftmaxCpu(const KernelContext& c) {
  const AxisView view(c.in(0), c.attrs->Int("axis"));
  return DispatchFloat(c.in(0).dtype(), [&](auto t) {
    using T = decltype(t);
    for (int64_t row = 0; row < view.outer * view.inner; ++row) {
      const int64_t at = row / view.inner * view.n * view.inner + row % view.inner;
      SoftmaxRow(c.in(0).as<T>() + at, c.out(0).as<T>() + at, view.n, view.inner);
    }
  });
}

absl::Status SoftmaxGradCpu(const KernelContext& c) {
  const AxisView view(c.in(0), c.attrs->Int("axis"));
  return DispatchFloat(c.in(0).dtype(), [&](auto t) {
    using T = decltype(t);
    for (int64_t row = 0; row < view.outer * view.inner; ++row) {
      const int64_t at = row / view.inner * view.n * view.inner + row % view.inner;
      SoftmaxGradRow(c.in(0).as<T>() + at, c.in(1).as<T>() + at, c.out(0).as<T>() + at, view.n,
                     view.inner);
    }
  });
}

InferredSpecs InferSoftmax(const InferContext& c) {
  WEFT_RETURN_IF_ERROR(CheckedAxis(c, "axis").status());
  return SameFloatSpecs(c);
}

}  // namespace

void DefineSoftmax(OpRegistry& ops) {
  ops.Add({.name = "softmax",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"axis", int64_t{-1}}},
           .infer = InferSoftmax,
           .layout = [](const LayoutContext& c) { return c.ElementwiseExcept(c.Axis("axis")); },
           .gradient =
               [](GradContext& g) {
                 return g.Emit("softmax_grad", {g.output(0), g.output_grad(0)}, g.attrs());
               },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 15); },
           .cpu = SoftmaxCpu,
           .in_place = {{0, 0}}});
  ops.Add({.name = "softmax_grad",
           .inputs = {"y", "dy"},
           .outputs = {"dx"},
           .attrs = {{"axis", int64_t{-1}}},
           .infer = InferSoftmax,
           .layout =
               [](const LayoutContext& c) {
                 FactorMap map = c.ElementwiseExcept(c.Axis("axis"));
                 map.linear = {{.monoid = Monoid::kSum, .inputs = {1}}};
                 return map;
               },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 4); },
           .cpu = SoftmaxGradCpu,
           .in_place = {{0, 0}, {1, 0}}});
}

}  // namespace weft
