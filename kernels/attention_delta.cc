// attention_delta: what attention's gradient takes off every product do v of a row: do o, less the
// gradient that lse has (Dao et al., arXiv 2205.14135, section 3.1).
#include "kernels/attention_geometry.h"
#include "kernels/attention_specs.h"
#include "kernels/device_workspace.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/row_math.h"
#include "kernels/scratch.h"

namespace weft {
namespace {

template <typename T, typename O>
void Deltas(const KernelContext& c) {
  using W = ArithmeticOf<T>;
  const int64_t width = c.in(0).shape[3];
  const Operand* dlse = GivenInput(c, 2);
  Scratch scratch(c.workspace);
  W *wide_do = scratch.Take<W>(width), *wide_o = scratch.Take<W>(width);
  for (int64_t row = 0; row < c.out(0).elements(); ++row) {
    W& delta = c.out(0).as<W>()[row];
    delta = RowDot(WideRow<O>(c.in(1).as<O>() + row * width, width, wide_o),
                   WideRow<T>(c.in(0).as<T>() + row * width, width, wide_do), width);
    if (dlse != nullptr) delta -= dlse->as<W>()[row];
  }
}

absl::Status AttentionDeltaCpu(const KernelContext& c) {
  const bool wide = c.in(1).dtype() != c.in(0).dtype();
  return DispatchFloat(c.in(0).dtype(), [&](auto type) {
    using T = decltype(type);
    wide ? Deltas<T, ArithmeticOf<T>>(c) : Deltas<T, T>(c);
  });
}

int64_t AttentionDeltaWorkspace(const CostContext& c) {
  Scratch scratch(nullptr);
  for (int i : {0, 1})
    scratch.Take<char>(c.inputs[i].shape[3] * SizeOf(WideDType(c.inputs[i].dtype)));
  return scratch.used();
}

InferredSpecs InferDelta(const InferContext& c) {
  const TensorSpec &d_o = c.in(0), &o = c.in(1);
  WEFT_RETURN_IF_ERROR(RequireFloat(d_o));
  if (d_o.rank() != 4 || o.shape != d_o.shape ||
      (o.dtype != d_o.dtype && o.dtype != WideDType(d_o.dtype))) {
    return absl::InvalidArgumentError(
        absl::StrCat("attention_delta of do ", d_o.ToString(), " and o ", o.ToString(),
                     ": both must be [batch,sequence,heads,head_dim], o in the dtype of do or in ",
                     std::string(Name(WideDType(d_o.dtype)))));
  }
  const TensorSpec delta = StatisticsOf(d_o);
  WEFT_RETURN_IF_ERROR(CheckIfGiven(c, 2, "dlse", delta));
  return std::vector<TensorSpec>{delta};
}

// A sum over parts of the width, unless dlse is taken off, which would be once for every part.
FactorMap DeltaLayout(const LayoutContext& c) {
  FactorMap map;
  const int batch = map.Add({.name = "batch"}), row = map.Add({.name = "sequence"});
  const int head = map.Add({.name = "heads"});
  const std::vector<int> statistics = {batch, row, head};
  const int width =
      IsGiven(c, 2) ? kWhole : map.Add({.name = "head_dim", .reduce = {Monoid::kSum}});
  const std::vector<int> rows = {batch, row, head, width};
  map.inputs = {rows, rows};
  map.linear = {{Monoid::kSum, {0}}};
  if (c.num_inputs() > 2) map.inputs.push_back(IsGiven(c, 2) ? statistics : std::vector<int>());
  if (IsGiven(c, 2)) map.linear[0].inputs.push_back(2);
  map.outputs = {statistics};
  return map;
}

}  // namespace

void DefineAttentionDelta(OpRegistry& ops) {
  ops.Add({
      .name = "attention_delta",
      .inputs = {"do", "o", "dlse?"},
      .outputs = {"delta"},
      .attrs = {},
      .infer = InferDelta,
      .layout = DeltaLayout,
      .cost =
          [](const CostContext& c) {
            return Cost{.flops = 2.0 * static_cast<double>(c.inputs[0].elements()),
                        .bytes = static_cast<double>(c.bytes())};
          },
      .workspace = AttentionDeltaWorkspace,
      .cuda_workspace = NoCudaWorkspace,
      .cpu = AttentionDeltaCpu,
  });
}

}  // namespace weft
