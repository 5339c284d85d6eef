// token_loss: scale times the sum of (lse - target_logit) over positions with a target >= 0. The
// scale (one over the number of valid tokens of the global batch) gets no gradient.
#include "kernels/token_loss.h"

#include "graph/grad_context.h"
#include "kernels/infer.h"
#include "kernels/wide_row.h"

namespace weft {
namespace {

template <typename W>
absl::Status TokenLoss(const KernelContext& k) {
  const W* lse = k.in(0).as<W>();
  const W* logit = k.in(1).as<W>();
  const int32_t* targets = k.in(2).as<int32_t>();
  const int64_t n = k.in(2).elements();
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (targets[i] >= 0) sum += static_cast<double>(lse[i]) - static_cast<double>(logit[i]);
  }
  *k.out(0).as<W>() = static_cast<W>(sum * static_cast<double>(*k.in(3).as<W>()));
  return absl::OkStatus();
}

template <typename W>
absl::Status TokenLossGrad(const KernelContext& k) {
  const W factor = *k.in(0).as<W>() * *k.in(2).as<W>();
  const int32_t* targets = k.in(1).as<int32_t>();
  const int64_t n = k.in(1).elements();
  W* dlse = k.out(0).as<W>();
  W* dlogit = k.out(1).as<W>();
  for (int64_t i = 0; i < n; ++i) {
    const W d = targets[i] >= 0 ? factor : W(0);
    if (dlse != nullptr) dlse[i] = d;
    if (dlogit != nullptr) dlogit[i] = -d;
  }
  return absl::OkStatus();
}

InferredSpecs InferTokenLoss(const InferContext& c) {
  const TensorSpec& lse = c.in(0);
  const bool wide = lse.dtype == DType::kF32 || lse.dtype == DType::kF64;
  if (!wide || c.in(1) != lse || c.in(2) != TensorSpec{lse.shape, DType::kI32} ||
      c.in(3) != TensorSpec{{}, lse.dtype}) {
    return absl::InvalidArgumentError(absl::StrCat(
        "token_loss needs lse and target_logit of one f32 or f64 shape, i32 targets of that shape "
        "and a scalar scale, got ",
        lse.ToString(), ", ", c.in(1).ToString(), ", ", c.in(2).ToString(), ", ",
        c.in(3).ToString()));
  }
  return std::vector<TensorSpec>{{{}, lse.dtype}};
}

InferredSpecs InferTokenLossGrad(const InferContext& c) {
  const TensorSpec &dloss = c.in(0), &targets = c.in(1);
  const bool wide = dloss.dtype == DType::kF32 || dloss.dtype == DType::kF64;
  if (!wide || dloss.rank() != 0 || targets.dtype != DType::kI32 || c.in(2) != dloss) {
    return absl::InvalidArgumentError(
        absl::StrCat("token_loss_grad needs scalars dloss and scale and i32 targets, got ",
                     dloss.ToString(), ", ", c.in(2).ToString(), " and ", targets.ToString()));
  }
  const TensorSpec out{targets.shape, dloss.dtype};
  return std::vector<TensorSpec>{out, out};
}

// One factor per dimension of the targets; a split of the loss leaves it a sum of parts.
std::vector<int> PositionFactors(FactorMap& map, const TensorSpec& targets, bool sums) {
  std::vector<int> positions;
  for (int d = 0; d < targets.rank(); ++d) {
    positions.push_back(map.Add({absl::StrCat("d", d), {}}));
    if (sums) map.factors.back().reduce = {Monoid::kSum};
  }
  return positions;
}

absl::Status TokenLossCpu(const KernelContext& k) {
  return k.in(0).dtype() == DType::kF64 ? TokenLoss<double>(k) : TokenLoss<float>(k);
}

absl::Status TokenLossGradCpu(const KernelContext& k) {
  return k.in(0).dtype() == DType::kF64 ? TokenLossGrad<double>(k) : TokenLossGrad<float>(k);
}

}  // namespace

void DefineTokenLoss(OpRegistry& ops) {
  ops.Add({
      .name = "token_loss",
      .inputs = {"lse", "target_logit", "targets", "scale"},
      .outputs = {"loss"},
      .attrs = {},
      .infer = InferTokenLoss,
      .layout = [](const LayoutContext& c) {
        FactorMap map;
        const std::vector<int> positions = PositionFactors(map, c.in(2), true);
        map.inputs = {positions, positions, positions, {}};
        map.outputs = {{}};
        map.linear = {{Monoid::kSum, {3}}};
        return map;
      },
      .gradient = [](GradContext& g) -> std::vector<Value> {
        std::vector<Value> grads =
            g.Emit("token_loss_grad", {g.output_grad(0), g.input(2), g.input(3)});
        return {grads[0], grads[1], Value(), Value()};
      },
      .cost = [](const CostContext& c) {
        return Cost{.flops = 2.0 * c.inputs[0].elements() + 1,
                    .bytes = static_cast<double>(c.bytes())};
      },
      .cpu = TokenLossCpu,
  });
  ops.Add({
      .name = "token_loss_grad",
      .inputs = {"dloss", "targets", "scale"},
      .outputs = {"dlse", "dtarget_logit"},
      .attrs = {},
      .infer = InferTokenLossGrad,
      .layout = [](const LayoutContext& c) {
        FactorMap map;
        const std::vector<int> positions = PositionFactors(map, c.in(1), false);
        map.inputs = {{}, positions, {}};
        map.outputs = {positions, positions};
        map.linear = {{Monoid::kSum, {0}}, {Monoid::kSum, {2}}};
        return map;
      },
      .cost = [](const CostContext& c) {
        return Cost{.flops = 2.0 * c.outputs[0].elements() + 1,
                    .bytes = static_cast<double>(c.bytes())};
      },
      .cpu = TokenLossGradCpu,
  });
}

}  // namespace weft
