// accumulate(x): y = x, or y += x when told: the sum of a value over microbatches. add_n: the sum
// of any number of tensors.
#include <cstring>

#include "graph/grad_context.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/vector_loops.h"

namespace weft {
namespace {

absl::Status AccumulateCpu(const KernelContext& c) {
  return DispatchFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    const T* x = c.in(0).as<T>();
    T* y = c.out(0).as<T>();
    const int64_t n = c.out(0).elements();
    if (c.adds(0)) {
      AddLoop(y, x, y, n);
    } else if (n > 0 && x != y) {
      std::memmove(y, x, n * sizeof(T));
    }
  });
}

absl::Status AddNCpu(const KernelContext& c) {
  return DispatchFloat(c.out(0).dtype(), [&](auto t) {
    using T = decltype(t);
    T* y = c.out(0).as<T>();
    const int64_t n = c.out(0).elements();
    if (n > 0 && c.in(0).as<T>() != y) std::memmove(y, c.in(0).data, n * sizeof(T));
    for (size_t i = 1; i < c.inputs.size(); ++i) AddLoop(y, c.in(i).as<T>(), y, n);
  });
}

Cost SumCost(const CostContext& c) {
  return ElementwiseCost(c, static_cast<double>(c.inputs.size()));
}

}  // namespace

void DefineAccumulate(OpRegistry& ops) {
  ops.Add({.name = "accumulate",
           .inputs = {"x"},
           .outputs = {"y"},
           .infer = SameFloatSpecs,
           .layout = [](const LayoutContext& c) { return ElementwiseLinear(c, 0); },
           .cost = SumCost,
           .cpu = AccumulateCpu,
           .accumulates = {0},
           .sums_microbatches = true});
}

void DefineAddN(OpRegistry& ops) {
  ops.Add({.name = "add_n",
           .inputs = {"xs*"},
           .outputs = {"y"},
           .infer = SameFloatSpecs,
           .layout =
               [](const LayoutContext& c) {
                 FactorMap map = c.Elementwise();
                 Linearity all{.monoid = Monoid::kSum, .inputs = {}};
                 for (int i = 0; i < c.num_inputs(); ++i) all.inputs.push_back(i);
                 map.linear.push_back(all);
                 return map;
               },
           .gradient =
               [](GradContext& g) { return std::vector<Value>(g.num_inputs(), g.output_grad(0)); },
           .cost = SumCost,
           .cpu = AddNCpu,
           .in_place = {{0, 0}},
           .sums_operands = true});
}

}  // namespace weft
