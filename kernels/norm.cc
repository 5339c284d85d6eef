// rms_norm and layer_norm over the last dimension, with the statistics that their gradients reuse.
// The statistics (inv_rms, mean, inv_std) are for the gradient ops; they pass no gradient on.
#include <algorithm>
#include <cmath>

#include "graph/grad_context.h"
#include "kernels/device_workspace.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/row_math.h"
#include "kernels/scratch.h"
#include "kernels/wide_row.h"

namespace weft {
namespace {

// Rows of scratch that any of the four kernels needs.
template <typename W>
struct NormRows {
  NormRows(Scratch& scratch, int64_t h)
      : weight(scratch.Take<W>(h)),
        bias(scratch.Take<W>(h)),
        x(scratch.Take<W>(h)),
        dy(scratch.Take<W>(h)),
        y(scratch.Take<W>(h)),
        dweight(scratch.Take<W>(h)),
        dbias(scratch.Take<W>(h)) {}
  W *weight, *bias, *x, *dy, *y, *dweight, *dbias;
};

int64_t NormWorkspace(const CostContext& c) {
  Scratch scratch(nullptr);
  const int64_t h = c.inputs[0].shape.back();
  if (c.inputs[0].dtype == DType::kF64) {
    NormRows<double> rows(scratch, h);
  } else {
    NormRows<float> rows(scratch, h);
  }
  return scratch.used();
}

// Where to write a result row: itself, or scratch to be converted.
template <typename T>
ArithmeticOf<T>* WideTarget(T* row, ArithmeticOf<T>* scratch) {
  if constexpr (std::is_same_v<T, ArithmeticOf<T>>) {
    return row;
  } else {
    return scratch;
  }
}
template <typename T>
void Finish(T* row, const ArithmeticOf<T>* wide, int64_t h) {
  if constexpr (!std::is_same_v<T, ArithmeticOf<T>>) ConvertRow(row, wide, h);
}

// Forward; layer norm if `layer`, which subtracts the mean and adds a bias.
template <typename T>
absl::Status Norm(const KernelContext& k, bool layer) {
  using W = ArithmeticOf<T>;
  const int64_t h = k.in(0).shape.back();
  const int64_t n = h == 0 ? 0 : k.in(0).elements() / h;
  const W eps = static_cast<W>(k.attrs->Float("eps"));
  Scratch scratch(k.workspace);
  NormRows<W> rows(scratch, h);
  const W* weight = WideRow(k.in(1).as<T>(), h, rows.weight);
  const W* bias = layer ? WideRow(k.in(2).as<T>(), h, rows.bias) : nullptr;
  W* means = layer ? k.out(1).as<W>() : nullptr;
  W* invs = k.out(layer ? 2 : 1).as<W>();
  for (int64_t i = 0; i < n; ++i) {
    const W* x = WideRow(k.in(0).as<T>() + i * h, h, rows.x);
    W mean = 0, squares;
    if (layer) {
      mean = RowSum(x, h) / static_cast<W>(h);
      RowAffine(rows.dy, x, nullptr, nullptr, h, mean, W(1));
      squares = RowDot(rows.dy, rows.dy, h);
      if (means != nullptr) means[i] = mean;
    } else {
      squares = RowDot(x, x, h);
    }
    const W inv = 1 / std::sqrt(squares / static_cast<W>(h) + eps);
    if (invs != nullptr) invs[i] = inv;
    if (k.out(0).data == nullptr) continue;
    T* y = k.out(0).as<T>() + i * h;
    W* wide = WideTarget(y, rows.y);
    RowAffine(wide, x, weight, bias, h, mean, inv);
    Finish(y, wide, h);
  }
  return absl::OkStatus();
}

// Adds a sum over the rows to an output, or replaces it.
template <typename T>
void Store(const KernelContext& k, int output, const ArithmeticOf<T>* sums) {
  T* to = k.out(output).as<T>();
  if (to == nullptr) return;
  for (int64_t i = 0; i < k.out(output).elements(); ++i) {
    const ArithmeticOf<T> sum = sums[i] + (k.adds(output) ? Load(to[i]) : 0);
    to[i] = static_cast<T>(sum);
  }
}

// The operand behind the statistics of a gradient op.
constexpr int AddendOf(bool layer) { return layer ? 5 : 4; }

// Backward: with n = (x - mean) inv and g = dy w,
// dx = inv (g - n mean(g n) [- mean(g)]) [+ addend], dweight = sum dy n, dbias = sum dy.
template <typename T>
absl::Status NormGrad(const KernelContext& k, bool layer) {
  using W = ArithmeticOf<T>;
  const int64_t h = k.in(0).shape.back();
  const int64_t n = h == 0 ? 0 : k.in(0).elements() / h;
  Scratch scratch(k.workspace);
  NormRows<W> rows(scratch, h);
  const W* weight = WideRow(k.in(2).as<T>(), h, rows.weight);
  const W* means = layer ? k.in(3).as<W>() : nullptr;
  const W* invs = k.in(layer ? 4 : 3).as<W>();
  const size_t last = AddendOf(layer);
  const T* addend = k.inputs.size() > last ? k.in(AddendOf(layer)).as<T>() : nullptr;
  std::fill_n(rows.dweight, h, W(0));
  std::fill_n(rows.dbias, h, W(0));
  for (int64_t i = 0; i < n; ++i) {
    const W* dy = WideRow(k.in(0).as<T>() + i * h, h, rows.dy);
    const W* x = WideRow(k.in(1).as<T>() + i * h, h, rows.x);
    W* normed = rows.bias;
    RowAffine(normed, x, nullptr, nullptr, h, layer ? means[i] : W(0), invs[i]);
    RowMulAdd(rows.dweight, dy, normed, h, W(1));
    if (layer) RowAdd(rows.dbias, dy, h, W(1));
    T* dx = k.out(0).as<T>() == nullptr ? nullptr : k.out(0).as<T>() + i * h;
    if (dx == nullptr) continue;
    W* wide = WideTarget(dx, rows.y);
    RowAffine(wide, dy, weight, nullptr, h, W(0), invs[i]);  // g inv
    const W projection = RowDot(wide, normed, h) / static_cast<W>(h);
    const W mean = layer ? RowSum(wide, h) / static_cast<W>(h) : W(0);
    RowAdd(wide, normed, h, -projection);
    if (layer) RowAffine(wide, wide, nullptr, nullptr, h, mean, W(1));
    if (addend != nullptr) RowAdd(wide, WideRow(addend + i * h, h, rows.dy), h, W(1));
    Finish(dx, wide, h);
  }
  Store<T>(k, 1, rows.dweight);
  if (layer) Store<T>(k, 2, rows.dbias);
  return absl::OkStatus();
}

// Checks x and weights of `weights` inputs from `first`; `op` for the message.
absl::Status CheckNorm(const InferContext& c, std::string_view op, int x, int first, int weights) {
  const TensorSpec& spec = c.in(x);
  WEFT_RETURN_IF_ERROR(RequireFloat(spec));
  if (spec.rank() < 1) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(op), " of a scalar"));
  }
  for (int i = first; i < first + weights; ++i) {
    if (c.in(i) == TensorSpec{{spec.shape.back()}, spec.dtype}) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(op), " of x ", spec.ToString(), " needs weights ",
                     TensorSpec{{spec.shape.back()}, spec.dtype}.ToString(), ", got ",
                     c.in(i).ToString()));
  }
  return absl::OkStatus();
}

TensorSpec Statistics(const TensorSpec& x) {
  TensorSpec spec{x.shape, WideDType(x.dtype)};
  spec.shape.pop_back();
  return spec;
}

template <bool kLayer>
InferredSpecs InferNorm(const InferContext& c) {
  WEFT_RETURN_IF_ERROR(
      CheckNorm(c, kLayer ? "layer_norm" : "rms_norm", 0, 1, kLayer ? 2 : 1));
  if (!kLayer) return std::vector<TensorSpec>{c.in(0), Statistics(c.in(0))};
  return std::vector<TensorSpec>{c.in(0), Statistics(c.in(0)), Statistics(c.in(0))};
}

template <bool kLayer>
InferredSpecs InferNormGrad(const InferContext& c) {
  const std::string op = kLayer ? "layer_norm_grad" : "rms_norm_grad";
  WEFT_RETURN_IF_ERROR(CheckNorm(c, op, 1, 2, 1));
  bool fits = c.in(0) == c.in(1);
  for (int i = 3; i < (kLayer ? 5 : 4); ++i) fits = fits && c.in(i) == Statistics(c.in(1));
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(op, ": dy ", c.in(0).ToString(),
                                                   " and statistics ", c.in(3).ToString(),
                                                   " do not fit x ", c.in(1).ToString()));
  }
  if (c.num_inputs() > AddendOf(kLayer)) {
    WEFT_RETURN_IF_ERROR(RequireSpec(c, AddendOf(kLayer), c.in(1)));
  }
  if (!kLayer) return std::vector<TensorSpec>{c.in(1), c.in(2)};
  return std::vector<TensorSpec>{c.in(1), c.in(2), c.in(2)};
}

// One factor per leading dimension; `full` operands have the last dimension too, `weights` only it.
FactorMap NormLayout(const LayoutContext& c, bool grad) {
  FactorMap map;
  std::vector<int> leading;
  const int rank = c.in(grad ? 1 : 0).rank();
  for (int d = 0; d + 1 < rank; ++d) {
    leading.push_back(map.Add({absl::StrCat("d", d), {}}));
    if (grad) map.factors.back().reduce = {Monoid::kSum};
  }
  std::vector<int> full = leading;
  full.push_back(kWhole);
  const std::vector<int> weights = {kWhole};
  if (grad) {
    map.inputs = {full, full, weights};
    map.outputs = {full};
    while (map.outputs.size() < c.outputs.size()) map.outputs.push_back(weights);
    map.linear = {{Monoid::kSum, {0}}};
    const int addend = AddendOf(c.outputs.size() == 3);
    while (static_cast<int>(map.inputs.size()) < addend) map.inputs.push_back(leading);
    if (c.num_inputs() > addend) {
      map.inputs.push_back(full);
      map.linear[0].inputs.push_back(addend);
    }
  } else {
    map.inputs = {full};
    while (map.inputs.size() < c.inputs.size()) map.inputs.push_back(weights);
    map.outputs = {full};
    while (map.outputs.size() < c.outputs.size()) map.outputs.push_back(leading);
  }
  return map;
}

template <bool kLayer>
std::vector<Value> NormGradient(GradContext& g) {
  if (!g.output_grad(0)) return std::vector<Value>(kLayer ? 3 : 2);
  if (!kLayer) {
    return g.Emit("rms_norm_grad", {g.output_grad(0), g.input(0), g.input(1), g.output(1)});
  }
  return g.Emit("layer_norm_grad",
                {g.output_grad(0), g.input(0), g.input(1), g.output(1), g.output(2)});
}

template <bool kLayer, bool kGrad>
absl::Status NormCpu(const KernelContext& k) {
  return RunForFloat(k.in(0).dtype(), [&](auto type) {
    using T = decltype(type);
    return kGrad ? NormGrad<T>(k, kLayer) : Norm<T>(k, kLayer);
  });
}

// A pair of ops; names and operands differ, all else is shared.
template <bool kLayer>
void DefinePair(OpRegistry& ops, OpDef forward, OpDef backward) {
  forward.infer = InferNorm<kLayer>;
  forward.layout = [](const LayoutContext& c) { return NormLayout(c, false); };
  forward.gradient = NormGradient<kLayer>;
  forward.cost = [](const CostContext& c) { return ElementwiseCost(c, 6); };
  forward.workspace = NormWorkspace;
  forward.cuda_workspace = NoCudaWorkspace;
  forward.cpu = NormCpu<kLayer, false>;
  backward.infer = InferNormGrad<kLayer>;
  backward.layout = [](const LayoutContext& c) { return NormLayout(c, true); };
  backward.cost = [](const CostContext& c) {
    return ElementwiseCost(c, static_cast<int>(c.inputs.size()) > AddendOf(kLayer) ? 12 : 11);
  };
  backward.addend = AddendOf(kLayer);
  backward.workspace = NormWorkspace;
  backward.cuda_workspace = NormGradCudaWorkspace;
  backward.cpu = NormCpu<kLayer, true>;
  ops.Add(std::move(forward));
  ops.Add(std::move(backward));
}

}  // namespace

void DefineNorm(OpRegistry& ops) {
  DefinePair<false>(ops,
                    {.name = "rms_norm",
                     .inputs = {"x", "weight"},
                     .outputs = {"y", "inv_rms"},
                     .attrs = {{"eps", 1e-5}}},
                    {.name = "rms_norm_grad",
                     .inputs = {"dy", "x", "weight", "inv_rms", "addend?"},
                     .outputs = {"dx", "dweight"},
                     .attrs = {},
                     .accumulates = {1}});
  DefinePair<true>(ops,
                   {.name = "layer_norm",
                    .inputs = {"x", "weight", "bias"},
                    .outputs = {"y", "mean", "inv_std"},
                    .attrs = {{"eps", 1e-5}}},
                   {.name = "layer_norm_grad",
                    .inputs = {"dy", "x", "weight", "mean", "inv_std", "addend?"},
                    .outputs = {"dx", "dweight", "dbias"},
                    .attrs = {},
                    .accumulates = {1, 2}});
}

}  // namespace weft
