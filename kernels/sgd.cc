// sgd: momentum and L2 decay in PyTorch's form: g' = g*clip + wd*p; mu' = momentum*mu + g';
// p' = p - lr * (nesterov ? g' + momentum*mu' : mu').
#include "graph/grad_context.h"
#include "kernels/op_list.h"
#include "kernels/optimizer_infer.h"

namespace weft {
namespace {

absl::Status SgdCpu(const KernelContext& c) {
  if (Skips(c, 5)) {
    for (int i : {0, 1}) Keep(c, i, i);
    return absl::OkStatus();
  }
  return DispatchOptimizer(c.in(0).dtype(), c.in(2).dtype(), [&](auto p, auto g) {
    using P = decltype(p);
    using G = decltype(g);
    const P lr = *c.in(3).as<float>(), clip = *c.in(4).as<float>();
    const P momentum = static_cast<P>(c.attrs->Float("momentum"));
    const P decay = static_cast<P>(c.attrs->Float("weight_decay"));
    const bool nesterov = c.attrs->Bool("nesterov");
    const P* param = c.in(0).as<P>();
    const P* mu = c.in(1).as<P>();
    const G* grad = c.in(2).as<G>();
    P* new_param = c.out(0).as<P>();
    P* new_mu = c.out(1).as<P>();
    const int64_t n = c.in(0).elements();
    for (int64_t i = 0; i < n; ++i) {
      const P step = Load(grad[i]) * clip + decay * param[i];
      const P moved = momentum * mu[i] + step;
      if (new_param) new_param[i] = param[i] - lr * (nesterov ? step + momentum * moved : moved);
      if (new_mu) new_mu[i] = moved;
    }
  });
}

}  // namespace

void DefineSgd(OpRegistry& ops) {
  ops.Add({.name = "sgd",
           .inputs = {"param", "momentum", "grad", "lr", "clip", "skip?"},
           .outputs = {"new_param", "new_momentum"},
           .attrs = {{"momentum", 0.9}, {"weight_decay", 0.0}, {"nesterov", false}},
           .infer = [](const InferContext& c) -> InferredSpecs {
             WEFT_RETURN_IF_ERROR(CheckOptimizerInputs(c, 1, 2));
             return std::vector<TensorSpec>{c.in(0), c.in(0)};
           },
           .layout = [](const LayoutContext& c) { return c.Elementwise(); },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 6); },
           .cpu = SgdCpu,
           .in_place = {{0, 0}, {1, 1}},
           .takes_narrow = {2}});
}

}  // namespace weft
