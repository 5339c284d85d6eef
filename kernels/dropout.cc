// dropout(x, seed; rate, tag): zeroes elements with probability `rate` and scales the rest by
// 1/(1-rate). Which ones depends on (seed, tag, logical index) alone: the gradient is the same op
// on dy. Rate 0 copies.
#include <string>

#include "graph/grad_context.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "kernels/logical_rows.h"
#include "kernels/op_list.h"
#include "kernels/philox.h"
#include "runtime/status.h"

namespace weft {
namespace {

absl::Status DropoutCpu(const KernelContext& c) {
  const double rate = c.attrs->Float("rate");
  const Operand& y = c.out(0);
  // Stream 0 belongs to initialisers.
  PhiloxStream stream(static_cast<uint64_t>(*c.in(1).as<int64_t>()),
                      static_cast<uint64_t>(c.attrs->Int("tag")) + 1);
  const double threshold = rate * 0x1p32;
  return DispatchFloat(y.dtype(), [&](auto t) {
    using T = decltype(t);
    using C = ArithmeticOf<T>;
    const C scale = static_cast<C>(1 / (1 - rate));
    const T* x = c.in(0).as<T>();
    T* out = y.as<T>();
    ForEachLogicalRow(*y.box, y.logical->shape, [&](int64_t local, int64_t logical, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        const bool keep = rate == 0 || stream.Word(logical + i) >= threshold;
        out[local + i] = keep ? T(Load(x[local + i]) * scale) : T(C(0));
      }
    });
  });
}

InferredSpecs InferDropout(const InferContext& c) {
  const double rate = c.attrs.Float("rate");
  if (!(rate >= 0 && rate < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("rate must lie in [0, 1), got ", rate));
  }
  WEFT_RETURN_IF_ERROR(RequireFloat(c.in(0)));
  WEFT_RETURN_IF_ERROR(RequireSpec(c, 1, {{}, DType::kI64}));
  return c.Like(0);
}

}  // namespace

void DefineDropout(OpRegistry& ops) {
  ops.Add({.name = "dropout",
           .inputs = {"x", "seed"},
           .outputs = {"y"},
           .attrs = {{"rate", 0.0}, {"tag", int64_t{0}}},
           .infer = InferDropout,
           .layout = [](const LayoutContext& c) { return ElementwiseLinear(c, 0); },
           .gradient = [](GradContext& g) -> std::vector<Value> {
             return {g.Emit1("dropout", {g.output_grad(0), g.input(1)}, g.attrs()), Value()};
           },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 15); },
           .cpu = DropoutCpu,
           .in_place = {{0, 0}},
           .stochastic = true});
}

}  // namespace weft
