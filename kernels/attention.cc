// attention: softmax(scale q k' + mask) v per head, with grouped key/value heads (Ainslie et al.,
// arXiv 2305.13245). Masks go by logical positions: causal, a window, and per row the keys that
// `visible` names, which serves packed documents and prefixes. A row that sees no key has o = 0 and
// lse = -inf. lse is the log of each row's sum.
#include "graph/grad_context.h"
#include "kernels/attention_cpu.h"
#include "kernels/attention_ring.h"
#include "kernels/attention_specs.h"
#include "kernels/device_workspace.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"

namespace weft {
namespace {

InferredSpecs InferAttention(const InferContext& c) {
  WEFT_ASSIGN_OR_RETURN(const TensorSpec o, CheckHeads(c, "attention", 0));
  WEFT_RETURN_IF_ERROR(CheckVisible(c, 3, o));
  return std::vector<TensorSpec>{o, StatisticsOf(o)};
}

InferredSpecs InferAttentionGrad(const InferContext& c) {
  WEFT_ASSIGN_OR_RETURN(const TensorSpec o, CheckHeads(c, "attention_grad", 1));
  if (c.in(0) != o || c.in(4) != o || c.in(5) != StatisticsOf(o)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention_grad needs do and o ", o.ToString(), " and lse ", StatisticsOf(o).ToString(),
        ", got ", c.in(0).ToString(), ", ", c.in(4).ToString(), " and ", c.in(5).ToString()));
  }
  WEFT_RETURN_IF_ERROR(CheckIfGiven(c, 6, "dlse", StatisticsOf(o)));
  WEFT_RETURN_IF_ERROR(CheckVisible(c, 7, o));
  return std::vector<TensorSpec>{c.in(1), c.in(2), c.in(3)};
}

FactorMap AttentionLayout(const LayoutContext& c) {
  AttentionFactors f(c, 0, {.meets = true});
  f.map.inputs = {f.rows, f.kv_rows, f.kv_rows};
  if (c.num_inputs() > 3) f.map.inputs.push_back(f.IfGiven(c, 3, f.visible));
  f.map.outputs = {f.rows, f.statistics};
  return f.map;
}

// Linear in do and dlse.
FactorMap AttentionGradLayout(const LayoutContext& c) {
  AttentionFactors f(c, 1, {.meets = true});
  f.map.inputs = {f.rows, f.rows, f.kv_rows, f.kv_rows, f.rows, f.statistics};
  if (c.num_inputs() > 6) f.map.inputs.push_back(f.IfGiven(c, 6, f.statistics));
  if (c.num_inputs() > 7) f.map.inputs.push_back(f.IfGiven(c, 7, f.visible));
  f.map.outputs = {f.rows, f.kv_rows, f.kv_rows};
  f.map.linear = {{Monoid::kSum, {0}}};
  if (IsGiven(c, 6)) f.map.linear[0].inputs.push_back(6);
  return f.map;
}

std::vector<Value> AttentionGradient(GradContext& g) {
  Value doo = g.output_grad(0);
  if (!doo) doo = g.Emit1("scale", {g.output(0)}, {{"factor", 0.0}});
  const bool has_visible = g.num_inputs() > 3 && g.input(3);
  std::vector<Value> inputs = {doo, g.input(0), g.input(1), g.input(2), g.output(0), g.output(1)};
  if (g.output_grad(1) || has_visible) inputs.push_back(g.output_grad(1));
  if (has_visible) inputs.push_back(g.input(3));
  std::vector<Value> grads = g.Emit("attention_grad", std::move(inputs), g.attrs());
  grads.resize(g.num_inputs());
  return grads;
}

// Two products forward, five backward.
Cost CostOf(const CostContext& c, int q, double products) {
  return AttentionCost(c, q, products,
                       SeenShare(c.attrs, static_cast<double>(c.inputs[q + 1].shape[1])));
}

}  // namespace

void DefineAttention(OpRegistry& ops) {
  ops.Add({
      .name = "attention",
      .inputs = {"q", "k", "v", "visible?"},
      .outputs = {"o", "lse"},
      .attrs = AttentionAttrs(),
      .infer = InferAttention,
      .layout = AttentionLayout,
      .gradient = AttentionGradient,
      .cost = [](const CostContext& c) { return CostOf(c, 0, 2); },
      .unroll = UnrollAttention,
      .workspace = AttentionWorkspace,
      .cuda_workspace = AttentionCudaWorkspace,
      .cpu = AttentionCpu,
  });
  ops.Add({
      .name = "attention_grad",
      .inputs = {"do", "q", "k", "v", "o", "lse", "dlse?", "visible?"},
      .outputs = {"dq", "dk", "dv"},
      .attrs = AttentionAttrs(),
      .infer = InferAttentionGrad,
      .layout = AttentionGradLayout,
      .cost = [](const CostContext& c) { return CostOf(c, 1, 5); },
      .unroll = UnrollAttentionGrad,
      .workspace = AttentionGradWorkspace,
      .cuda_workspace = AttentionGradCudaWorkspace,
      .cpu = AttentionGradCpu,
  });
}

}  // namespace weft
