// attention_sink: one more key for every row, with a score of its own per head and no value, added
// to what attention gave: lse' = log(exp(lse) + exp(sink)), o' = o exp(lse - lse') (Xiao et al.,
// arXiv 2309.17453; learned per head as in gpt-oss). A row that saw no key has o' = 0, lse' = sink.
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/grad_context.h"
#include "kernels/attention_geometry.h"
#include "kernels/attention_specs.h"
#include "kernels/device_workspace.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/row_math.h"
#include "kernels/scratch.h"

namespace weft {
namespace {

// The weights of a row's keys and of the sink: 1 together. No exponent is positive.
template <typename W>
struct SinkWeights {
  SinkWeights(W lse, W sink) {
    const W high = std::max(lse, sink), low = std::min(lse, sink);
    const W ratio = low == -std::numeric_limits<W>::infinity() ? W(0) : std::exp(low - high);
    both = high + std::log1p(ratio);
    keys = (lse > sink ? W(1) : ratio) / (1 + ratio);
    of_sink = (lse > sink ? ratio : W(1)) / (1 + ratio);
  }
  W both;  // log of the sum
  W keys, of_sink;
};

// Of o in T and the sink in S.
template <typename T, typename S>
void AddSink(const KernelContext& c) {
  using W = ArithmeticOf<T>;
  const int64_t heads = c.in(0).shape[2], width = c.in(0).shape[3];
  const T* o = c.in(0).as<T>();
  T* o_out = c.out(0).as<T>();
  W* lse_out = c.out(1).as<W>();
  for (int64_t row = 0; row < c.in(1).elements(); ++row) {
    const SinkWeights<W> weights(c.in(1).as<W>()[row], Load(c.in(2).as<S>()[row % heads]));
    for (int64_t i = row * width; o_out != nullptr && i < (row + 1) * width; ++i) {
      o_out[i] = static_cast<T>(weights.keys == 0 ? W(0) : Load(o[i]) * weights.keys);
    }
    if (lse_out != nullptr) lse_out[row] = weights.both;
  }
}

// do, dlse, o, lse, sink -> do_in, dlse_in, dsink. With w the weight of the keys and u of the sink,
// dw = w u (dlse - dsink), so that all that o' had by w is g = do o: dlse_in = w (g u + dlse).
template <typename T, typename S>
void SinkGradient(const KernelContext& c) {
  using W = ArithmeticOf<T>;
  const int64_t heads = c.in(0).shape[2], width = c.in(0).shape[3];
  const T *d_o = c.in(0).as<T>(), *o = c.in(2).as<T>();
  const Operand* dlse = GivenInput(c, 1);
  T* do_in = c.out(0).as<T>();
  W* dlse_in = c.out(1).as<W>();
  Scratch scratch(c.workspace);
  double* sums = scratch.Take<double>(heads);
  std::fill_n(sums, heads, 0.0);
  W *wide_do = scratch.Take<W>(width), *wide_o = scratch.Take<W>(width);
  for (int64_t row = 0; row < c.in(3).elements(); ++row) {
    const SinkWeights<W> weights(c.in(3).as<W>()[row], Load(c.in(4).as<S>()[row % heads]));
    const W both = dlse == nullptr ? W(0) : dlse->as<W>()[row];
    const W g = weights.keys == 0 ? W(0)
                                  : RowDot(WideRow<T>(d_o + row * width, width, wide_do),
                                           WideRow<T>(o + row * width, width, wide_o), width) *
                                        weights.keys;
    for (int64_t i = row * width; do_in != nullptr && i < (row + 1) * width; ++i) {
      do_in[i] = static_cast<T>(Load(d_o[i]) * weights.keys);
    }
    if (dlse_in != nullptr) dlse_in[row] = g * weights.of_sink + both * weights.keys;
    sums[row % heads] += static_cast<double>((both - g) * weights.of_sink);
  }
  S* dsink = c.out(2).as<S>();
  for (int64_t head = 0; dsink != nullptr && head < heads; ++head) {
    dsink[head] = static_cast<S>(static_cast<W>(sums[head]));
  }
}

// f(T(), S()) by the dtypes of o and of the sink.
template <typename F>
absl::Status DispatchSink(const Operand& o, const Operand& sink, F&& f) {
  const bool wide = sink.dtype() != o.dtype();
  return DispatchFloat(o.dtype(), [&](auto type) {
    using T = decltype(type);
    wide ? f(T(), ArithmeticOf<T>()) : f(T(), T());
  });
}

absl::Status AttentionSinkCpu(const KernelContext& c) {
  return DispatchSink(c.in(0), c.in(2),
                      [&](auto t, auto s) { AddSink<decltype(t), decltype(s)>(c); });
}

absl::Status AttentionSinkGradCpu(const KernelContext& c) {
  return DispatchSink(c.in(0), c.in(4),
                      [&](auto t, auto s) { SinkGradient<decltype(t), decltype(s)>(c); });
}

int64_t SinkGradWorkspace(const CostContext& c) {
  const Shape& o = c.inputs[0].shape;
  const DType wide = WideDType(c.inputs[0].dtype);
  Scratch scratch(nullptr);
  scratch.Take<double>(o[2]);
  for (int i = 0; i < 2; ++i) scratch.Take<char>(o[3] * SizeOf(wide));
  return scratch.used();
}

absl::Status CheckSink(std::string_view op, const TensorSpec& o, const TensorSpec& lse,
                       const TensorSpec& sink) {
  WEFT_RETURN_IF_ERROR(RequireFloat(o));
  const DType wide = WideDType(o.dtype);
  if (o.rank() == 4 && lse == StatisticsOf(o) && sink.shape == Shape{o.shape[2]} &&
      (sink.dtype == o.dtype || sink.dtype == wide)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      std::string(op), " of o ", o.ToString(), ", lse ", lse.ToString(), ", sink ", sink.ToString(),
      ": o must be [batch,sequence,heads,head_dim], lse ", std::string(Name(wide)),
      "[batch,sequence,heads], sink [heads] in the dtype of o or lse"));
}

InferredSpecs InferSink(const InferContext& c) {
  WEFT_RETURN_IF_ERROR(CheckSink("attention_sink", c.in(0), c.in(1), c.in(2)));
  return std::vector<TensorSpec>{c.in(0), c.in(1)};
}

InferredSpecs InferSinkGrad(const InferContext& c) {
  WEFT_RETURN_IF_ERROR(CheckSink("attention_sink_grad", c.in(2), c.in(3), c.in(4)));
  WEFT_RETURN_IF_ERROR(RequireSpec(c, 0, c.in(2)));
  WEFT_RETURN_IF_ERROR(CheckIfGiven(c, 1, "dlse", c.in(3)));
  return std::vector<TensorSpec>{c.in(2), c.in(3), c.in(4)};
}

struct SinkFactors {
  FactorMap map;
  std::vector<int> rows, statistics, heads;
  explicit SinkFactors(std::vector<Monoid> reduce) {
    const int batch = map.Add({.name = "batch", .reduce = reduce});
    const int row = map.Add({.name = "sequence", .reduce = reduce});
    const int head = map.Add({.name = "heads"});
    rows = {batch, row, head, kWhole};
    statistics = {batch, row, head};
    heads = {head};
  }
};

FactorMap SinkLayout(const LayoutContext&) {
  SinkFactors f({});
  f.map.inputs = {f.rows, f.statistics, f.heads};
  f.map.outputs = {f.rows, f.statistics};
  return f.map;
}

FactorMap SinkGradLayout(const LayoutContext& c) {
  SinkFactors f({Monoid::kSum});
  f.map.inputs = {f.rows, IsGiven(c, 1) ? f.statistics : std::vector<int>(), f.rows, f.statistics,
                  f.heads};
  f.map.outputs = {f.rows, f.statistics, f.heads};
  f.map.linear = {{Monoid::kSum, {0}}};
  if (IsGiven(c, 1)) f.map.linear[0].inputs.push_back(1);
  return f.map;
}

std::vector<Value> AttentionSinkGradient(GradContext& g) {
  Value doo = g.output_grad(0);
  if (!doo) doo = g.Emit1("scale", {g.output(0)}, {{"factor", 0.0}});
  return g.Emit("attention_sink_grad", {doo, g.output_grad(1), g.input(0), g.input(1), g.input(2)});
}

Cost SinkCost(const CostContext& c, double flops) {
  return {.flops = flops * static_cast<double>(c.inputs[0].elements()) + 1,
          .bytes = static_cast<double>(c.bytes())};
}

}  // namespace

void DefineAttentionSink(OpRegistry& ops) {
  ops.Add({
      .name = "attention_sink",
      .inputs = {"o", "lse", "sink"},
      .outputs = {"o", "lse"},
      .attrs = {},
      .infer = InferSink,
      .layout = SinkLayout,
      .gradient = AttentionSinkGradient,
      .cost = [](const CostContext& c) { return SinkCost(c, 1); },
      .cpu = AttentionSinkCpu,
      .in_place = {{0, 0}, {1, 1}},
  });
  // o and lse are what attention_sink was given.
  ops.Add({
      .name = "attention_sink_grad",
      .inputs = {"do", "dlse?", "o", "lse", "sink"},
      .outputs = {"do_in", "dlse_in", "dsink"},
      .attrs = {},
      .infer = InferSinkGrad,
      .layout = SinkGradLayout,
      .cost = [](const CostContext& c) { return SinkCost(c, 3); },
      .workspace = SinkGradWorkspace,
      .cuda_workspace = AttentionSinkGradCudaWorkspace,
      .cpu = AttentionSinkGradCpu,
      .in_place = {{0, 0}, {1, 1}},
  });
}

}  // namespace weft
