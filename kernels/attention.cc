// attention: softmax(scale q k' + mask) v per head, with grouped key/value heads (Ainslie et al.,
// arXiv 2305.13245). The causal mask goes by logical positions. lse is the log of each row's sum.
#include "graph/grad_context.h"
#include "kernels/attention_cpu.h"
#include "kernels/attention_geometry.h"
#include "kernels/device_workspace.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"

namespace weft {
namespace {

// Checks q, k, v, which start at input `first`; the spec of o.
absl::StatusOr<TensorSpec> CheckHeads(const InferContext& c, std::string_view op, int first) {
  const TensorSpec &q = c.in(first), &k = c.in(first + 1), &v = c.in(first + 2);
  WEFT_RETURN_IF_ERROR(RequireFloat(q));
  const auto error = [&](std::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(op), " of q ", q.ToString(), ", k ",
                                                   k.ToString(), ", v ", v.ToString(), ": ",
                                                   std::string(what)));
  };
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4) {
    return error("each must be [batch,sequence,heads,head_dim]");
  }
  if (q.dtype != k.dtype || q.dtype != v.dtype) return error("dtypes differ; cast them to one");
  if (q.shape[0] != k.shape[0] || k.shape[0] != v.shape[0]) return error("batches differ");
  if (k.shape[1] != v.shape[1]) return error("k and v differ in length");
  if (k.shape[2] != v.shape[2]) return error("k and v differ in heads");
  if (q.shape[3] != k.shape[3]) return error("q and k differ in head_dim");
  if (k.shape[2] == 0 || q.shape[2] % k.shape[2] != 0) {
    return error("the heads of k and v must divide those of q");
  }
  return TensorSpec{{q.shape[0], q.shape[1], q.shape[2], v.shape[3]}, q.dtype};
}

TensorSpec StatisticsOf(const TensorSpec& o) {
  return {{o.shape[0], o.shape[1], o.shape[2]}, WideDType(o.dtype)};
}

InferredSpecs InferAttention(const InferContext& c) {
  WEFT_ASSIGN_OR_RETURN(const TensorSpec o, CheckHeads(c, "attention", 0));
  return std::vector<TensorSpec>{o, StatisticsOf(o)};
}

InferredSpecs InferAttentionGrad(const InferContext& c) {
  WEFT_ASSIGN_OR_RETURN(const TensorSpec o, CheckHeads(c, "attention_grad", 1));
  const bool has_dlse = c.num_inputs() > 6;
  if (c.in(0) != o || c.in(4) != o || c.in(5) != StatisticsOf(o) ||
      (has_dlse && c.in(6) != StatisticsOf(o))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention_grad needs do and o ", o.ToString(), " and lse ", StatisticsOf(o).ToString(),
        ", got ", c.in(0).ToString(), ", ", c.in(4).ToString(), " and ", c.in(5).ToString()));
  }
  return std::vector<TensorSpec>{c.in(1), c.in(2), c.in(3)};
}

// Batch, and heads: with their key heads where whole groups stay together, else with all key heads
// on every rank, dk and dv then being sums over the ranks' query heads. Never the sequence: its
// split is reserved for a ring of key and value parts, which is not built, and until then gathered.
FactorMap AttentionLayout(const LayoutContext& c, int q) {
  FactorMap map;
  const int batch = map.Add({.name = "batch"});
  const bool grouped = c.in(q).shape[2] != c.in(q + 1).shape[2];
  const int kv_head = map.Add({.name = "kv_heads"});
  const int head =
      grouped ? map.Add({.name = "heads", .reduce = {Monoid::kSum}, .runs_of = kv_head}) : kv_head;
  const std::vector<int> rows = {batch, kWhole, head, kWhole}, statistics = {batch, kWhole, head};
  const std::vector<int> kv_rows = {batch, kWhole, kv_head, kWhole};
  map.inputs = {rows, kv_rows, kv_rows};
  map.outputs = {rows, statistics};
  if (q == 1) {  // the gradient: do, q, k, v, o, lse, dlse
    map.inputs = {rows, rows, kv_rows, kv_rows, rows, statistics};
    map.outputs = {rows, kv_rows, kv_rows};
    map.linear = {{Monoid::kSum, {0}}};
    if (c.num_inputs() > 6) {
      map.inputs.push_back(statistics);
      map.linear[0].inputs.push_back(6);
    }
  }
  return map;
}

std::vector<Value> AttentionGradient(GradContext& g) {
  Value doo = g.output_grad(0);
  if (!doo) doo = g.Emit1("scale", {g.output(0)}, {{"factor", 0.0}});
  std::vector<Value> inputs = {doo, g.input(0), g.input(1), g.input(2), g.output(0), g.output(1)};
  if (g.output_grad(1)) inputs.push_back(g.output_grad(1));
  return g.Emit("attention_grad", std::move(inputs), g.attrs());
}

// Two products forward, five backward. A causal mask halves the pairs (all of q and k here).
Cost AttentionCost(const CostContext& c, int q, double products) {
  const AttentionSize size(c.inputs[q].shape, c.inputs[q + 1].shape, c.inputs[q + 2].shape);
  const double pairs = static_cast<double>(size.batch * size.heads) * size.s * size.t *
                       (c.attrs.Bool("causal") ? 0.5 : 1.0);
  return {.flops = pairs * (products * (size.d + size.dv) + 5) + 1,
          .bytes = static_cast<double>(c.bytes())};
}

}  // namespace

void DefineAttention(OpRegistry& ops) {
  const std::map<std::string, Attr> attrs = {{"causal", false}, {"scale", 0.0}};
  ops.Add({
      .name = "attention",
      .inputs = {"q", "k", "v"},
      .outputs = {"o", "lse"},
      .attrs = attrs,
      .infer = InferAttention,
      .layout = [](const LayoutContext& c) { return AttentionLayout(c, 0); },
      .gradient = AttentionGradient,
      .cost = [](const CostContext& c) { return AttentionCost(c, 0, 2); },
      .workspace = AttentionWorkspace,
      .cuda_workspace = AttentionCudaWorkspace,
      .cpu = AttentionCpu,
  });
  ops.Add({
      .name = "attention_grad",
      .inputs = {"do", "q", "k", "v", "o", "lse", "dlse?"},
      .outputs = {"dq", "dk", "dv"},
      .attrs = attrs,
      .infer = InferAttentionGrad,
      .layout = [](const LayoutContext& c) { return AttentionLayout(c, 1); },
      .cost = [](const CostContext& c) { return AttentionCost(c, 1, 5); },
      .workspace = AttentionGradWorkspace,
      .cuda_workspace = AttentionGradCudaWorkspace,
      .cpu = AttentionGradCpu,
  });
}

}  // namespace weft
