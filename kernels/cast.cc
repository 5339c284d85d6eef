// cast: to another element type, rounding to nearest even between floats, towards zero to integers.
#include <string>
#include <type_traits>

#include "graph/grad_context.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/vector_loops.h"
#include "runtime/status.h"

namespace weft {
namespace {

template <typename T>
constexpr bool kIsHalf = !std::is_same_v<T, ArithmeticOf<T>>;

template <typename To, typename From>
To Convert(From value) {
  if constexpr (std::is_arithmetic_v<To>) {
    return static_cast<To>(Load(value));
  } else {
    return To(static_cast<float>(Load(value)));
  }
}

absl::Status CastCpu(const KernelContext& c) {
  return DispatchAny(c.in(0).dtype(), [&](auto from) {
    using From = decltype(from);
    const From* x = c.in(0).as<From>();
    const int64_t n = c.out(0).elements();
    (void)DispatchAny(c.out(0).dtype(), [&](auto to) {
      using To = decltype(to);
      To* y = c.out(0).as<To>();
      constexpr bool kNarrow = std::is_same_v<From, float> && kIsHalf<To>;
      constexpr bool kWiden = kIsHalf<From> && std::is_same_v<To, float>;
      if constexpr (kNarrow || kWiden) {
        CastLoop(x, y, n);
      } else {
        for (int64_t i = 0; i < n; ++i) y[i] = Convert<To>(x[i]);
      }
    });
  });
}

}  // namespace

void DefineCast(OpRegistry& ops) {
  ops.Add({.name = "cast",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"dtype", std::string("f32")}},
           .infer = [](const InferContext& c) -> InferredSpecs {
             WEFT_ASSIGN_OR_RETURN(DType dtype, ParseDType(c.attrs.String("dtype")));
             return std::vector<TensorSpec>{{c.in(0).shape, dtype}};
           },
           .layout =
               [](const LayoutContext& c) {
                 FactorMap map = c.Elementwise();
                 const DType from = c.in(0).dtype, to = c.outputs[0].dtype;
                 // A narrower type rounds the sum once, but every summand on its own.
                 const bool exact = from == to || SizeOf(to) > SizeOf(from);
                 if (IsFloat(from) && IsFloat(to) && exact) {
                   map.linear.push_back({.monoid = Monoid::kSum, .inputs = {0}});
                 }
                 return map;
               },
           .gradient = [](GradContext& g) -> std::vector<Value> {
             const DType from = g.spec(g.input(0)).dtype;
             if (!IsFloat(from)) return {Value()};
             return g.Emit("cast", {g.output_grad(0)}, {{"dtype", std::string(Name(from))}});
           },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 1); },
           .cpu = CastCpu,
           .converts = true});
}

}  // namespace weft
