// attention_block, attention_block_grad: attention over the keys that are here, running on from
// what other keys gave before, and its gradients, for keys that come in parts (Liu et al., arXiv
// 2310.01889). What is summed over parts stays in the type of sums, so that the error does not grow
// with their number.
#include "kernels/attention_cpu.h"
#include "kernels/attention_specs.h"
#include "kernels/device_workspace.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"

namespace weft {
namespace {

// The share of pairs is for the cost alone: the masks leave of a block what its positions say.
std::map<std::string, Attr> BlockAttrs() {
  std::map<std::string, Attr> attrs = AttentionAttrs();
  attrs["density"] = 1.0;
  return attrs;
}

absl::Status CheckDensity(const InferContext& c) {
  const double density = c.attrs.Float("density");
  if (density >= 0 && density <= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("density is ", density, "; it is a share, from 0 to 1"));
}

InferredSpecs InferBlock(const InferContext& c) {
  WEFT_ASSIGN_OR_RETURN(TensorSpec o, CheckHeads(c, "attention_block", 0));
  WEFT_RETURN_IF_ERROR(CheckDensity(c));
  const TensorSpec wide = WideSpec(o), lse = StatisticsOf(o);
  const std::string& dtype = c.attrs.String("dtype");
  if (!dtype.empty() && dtype != Name(o.dtype) && dtype != Name(wide.dtype)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention_block of ", o.ToString(), " cannot make o in ", dtype, "; dtype may be ",
        std::string(Name(o.dtype)), " or ", std::string(Name(wide.dtype))));
  }
  if (IsGiven(c, 3) != IsGiven(c, 4)) {
    return absl::InvalidArgumentError(
        "attention_block has one of o_before and lse_before; give both or neither");
  }
  WEFT_RETURN_IF_ERROR(CheckIfGiven(c, 3, "o_before", wide));
  WEFT_RETURN_IF_ERROR(CheckIfGiven(c, 4, "lse_before", lse));
  WEFT_RETURN_IF_ERROR(CheckVisible(c, 5, o));
  o.dtype = BlockResultDType(c.attrs, o.dtype);
  return std::vector<TensorSpec>{o, lse};
}

InferredSpecs InferBlockGrad(const InferContext& c) {
  WEFT_ASSIGN_OR_RETURN(const TensorSpec o, CheckHeads(c, "attention_block_grad", 1));
  WEFT_RETURN_IF_ERROR(CheckDensity(c));
  const TensorSpec row = StatisticsOf(o);
  if (c.in(0) != o || c.in(4) != row || c.in(5) != row) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention_block_grad needs do ", o.ToString(), " and lse and delta ", row.ToString(),
        ", got ", c.in(0).ToString(), ", ", c.in(4).ToString(), " and ", c.in(5).ToString()));
  }
  std::vector<TensorSpec> grads;
  for (int i : {1, 2, 3}) grads.push_back(WideSpec(c.in(i)));
  WEFT_RETURN_IF_ERROR(CheckVisible(c, 6, o));
  WEFT_RETURN_IF_ERROR(CheckIfGiven(c, 7, "dq_before", grads[0]));
  WEFT_RETURN_IF_ERROR(CheckIfGiven(c, 8, "dk_before", grads[1]));
  WEFT_RETURN_IF_ERROR(CheckIfGiven(c, 9, "dv_before", grads[2]));
  WEFT_RETURN_IF_ERROR(CheckIfGiven(c, 10, "o", o));
  return grads;
}

FactorMap BlockLayout(const LayoutContext& c) {
  AttentionFactors f(c, 0, {});
  f.map.inputs = {f.rows, f.kv_rows, f.kv_rows};
  const std::vector<int>* optional[] = {&f.rows, &f.statistics, &f.visible};
  for (int i = 3; i < c.num_inputs(); ++i) {
    f.map.inputs.push_back(f.IfGiven(c, i, *optional[i - 3]));
  }
  f.map.outputs = {f.rows, f.statistics};
  return f.map;
}

// Linear in do, delta and the gradients before. Query heads of one key head do not part where dk or
// dv go on from what came before, which would count once for every part.
FactorMap BlockGradLayout(const LayoutContext& c) {
  AttentionFactors f(c, 1, {.sums = !IsGiven(c, 8) && !IsGiven(c, 9)});
  f.map.inputs = {f.rows, f.rows, f.kv_rows, f.kv_rows, f.statistics, f.statistics};
  f.map.linear = {{Monoid::kSum, {0, 5}}};
  const std::vector<int>* optional[] = {&f.visible, &f.rows, &f.kv_rows, &f.kv_rows, &f.rows};
  for (int i = 6; i < c.num_inputs(); ++i) {
    f.map.inputs.push_back(f.IfGiven(c, i, *optional[i - 6]));
    if (i >= 7 && i <= 9 && IsGiven(c, i)) f.map.linear[0].inputs.push_back(i);
  }
  f.map.outputs = {f.rows, f.kv_rows, f.kv_rows};
  return f.map;
}

}  // namespace

void DefineAttentionBlock(OpRegistry& ops) {
  std::map<std::string, Attr> attrs = BlockAttrs();
  attrs["dtype"] = std::string();
  // o and lse over the keys here and those before, whose o is normalised as the result is; a row
  // with lse_before -inf saw none. o is wide, or in `dtype`.
  ops.Add({
      .name = "attention_block",
      .inputs = {"q", "k", "v", "o_before?", "lse_before?", "visible?"},
      .outputs = {"o", "lse"},
      .attrs = attrs,
      .infer = InferBlock,
      .layout = BlockLayout,
      .cost = [](const CostContext& c) { return AttentionCost(c, 0, 2, c.attrs.Float("density")); },
      .workspace = AttentionWorkspace,
      .cuda_workspace = AttentionBlockCudaWorkspace,
      .cpu = AttentionBlockCpu,
      .in_place = {{3, 0}, {4, 1}},
  });
  // Wide gradients by the keys here, added to those before; lse and delta (attention_delta) are of
  // all keys. A row with lse -inf has none. `o`, of all keys too, may be given only where delta is
  // its product with do and nothing else: libraries that make delta themselves need it.
  ops.Add({
      .name = "attention_block_grad",
      .inputs = {"do", "q", "k", "v", "lse", "delta", "visible?", "dq_before?", "dk_before?",
                 "dv_before?", "o?"},
      .outputs = {"dq", "dk", "dv"},
      .attrs = BlockAttrs(),
      .infer = InferBlockGrad,
      .layout = BlockGradLayout,
      .cost = [](const CostContext& c) { return AttentionCost(c, 1, 5, c.attrs.Float("density")); },
      .workspace = AttentionBlockGradWorkspace,
      .cuda_workspace = AttentionBlockGradCudaWorkspace,
      .cpu = AttentionBlockGradCpu,
      .in_place = {{7, 0}, {8, 1}, {9, 2}},
  });
}

}  // namespace weft
