// reduce_sum, reduce_mean, reduce_max over some dimensions. Sums are taken in f64 within a rank.
#include <algorithm>
#include <limits>
#include <string>

#include "graph/grad_context.h"
#include "kernels/device_workspace.h"
#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/strided.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kBlock = 128;  // results accumulated at once; 1 KB of f64

// Which dimensions of a tensor of `rank` are reduced; no axes means all.
absl::InlinedVector<bool, 6> Reduced(const Attrs& attrs, int rank) {
  const std::vector<int64_t>& axes = attrs.Ints("axes");
  absl::InlinedVector<bool, 6> reduced(rank, axes.empty());
  for (int64_t axis : axes) reduced[axis < 0 ? axis + rank : axis] = true;
  return reduced;
}

// The shape of the result if every reduced dimension stayed with extent 1.
std::vector<int64_t> KeptShape(const TensorSpec& x, const Attrs& attrs) {
  const auto reduced = Reduced(attrs, x.rank());
  std::vector<int64_t> shape(x.shape.begin(), x.shape.end());
  for (int d = 0; d < x.rank(); ++d) {
    if (reduced[d]) shape[d] = 1;
  }
  return shape;
}

struct Sum {
  static constexpr double kIdentity = 0;
  static double Combine(double a, double b) { return a + b; }
};
struct Max {
  static constexpr double kIdentity = -std::numeric_limits<double>::infinity();
  static double Combine(double a, double b) { return std::max(a, b); }
};

// y = post * combine over the reduced dimensions of x.
template <typename Reduction, typename T>
void Reduce(const Operand& in, const Operand& out, const Attrs& attrs, double post) {
  const T* x = in.as<T>();
  T* y = out.as<T>();
  const Shape strides = DenseStrides(in.shape);
  const auto is_reduced = Reduced(attrs, static_cast<int>(in.shape.size()));
  Shape kept, kept_strides, reduced, reduced_strides;
  for (size_t d = 0; d < in.shape.size(); ++d) {
    (is_reduced[d] ? reduced : kept).push_back(in.shape[d]);
    (is_reduced[d] ? reduced_strides : kept_strides).push_back(strides[d]);
  }
  const Shape out_strides = DenseStrides(kept);
  double acc[kBlock];
  ForEachRow<2>(
      kept, {kept_strides, out_strides}, [&](const auto& at, const auto& step, int64_t n) {
        for (int64_t begin = 0; begin < n; begin += kBlock) {
          const int64_t block = std::min<int64_t>(kBlock, n - begin);
          std::fill_n(acc, block, Reduction::kIdentity);
          const T* base = x + at[0] + begin * step[0];
          ForEachRow<1>(
              reduced, {reduced_strides}, [&](const auto& from, const auto& by, int64_t m) {
                const T* row = base + from[0];
                if (step[0] <= by[0]) {
                  for (int64_t i = 0; i < m; ++i) {
                    for (int64_t j = 0; j < block; ++j) {
                      acc[j] = Reduction::Combine(acc[j], Load(row[i * by[0] + j * step[0]]));
                    }
                  }
                } else {
                  for (int64_t j = 0; j < block; ++j) {
                    for (int64_t i = 0; i < m; ++i) {
                      acc[j] = Reduction::Combine(acc[j], Load(row[i * by[0] + j * step[0]]));
                    }
                  }
                }
              });
          for (int64_t j = 0; j < block; ++j) {
            y[at[1] + (begin + j) * step[1]] = T(static_cast<ArithmeticOf<T>>(acc[j] * post));
          }
        }
      });
}

template <typename Reduction>
absl::Status ReduceCpu(const KernelContext& c) {
  return DispatchFloat(c.in(0).dtype(), [&](auto t) {
    Reduce<Reduction, decltype(t)>(c.in(0), c.out(0), *c.attrs, 1.0);
  });
}

double LogicalCount(const TensorSpec& x, const Attrs& attrs) {
  const auto reduced = Reduced(attrs, x.rank());
  double count = 1;
  for (int d = 0; d < x.rank(); ++d) {
    if (reduced[d]) count *= static_cast<double>(x.shape[d]);
  }
  return count;
}

// Divides by the logical count: the parts of a split dimension are then summands of the mean.
absl::Status ReduceMeanCpu(const KernelContext& c) {
  const double post = 1.0 / LogicalCount(*c.in(0).logical, *c.attrs);
  return DispatchFloat(c.in(0).dtype(), [&](auto t) {
    Reduce<Sum, decltype(t)>(c.in(0), c.out(0), *c.attrs, post);
  });
}

InferredSpecs InferReduce(const InferContext& c) {
  const TensorSpec& x = c.in(0);
  WEFT_RETURN_IF_ERROR(RequireFloat(x));
  WEFT_RETURN_IF_ERROR(Axes(c.attrs.Ints("axes"), x.rank()).status());
  const auto reduced = Reduced(c.attrs, x.rank());
  TensorSpec y{.dtype = x.dtype};
  for (int d = 0; d < x.rank(); ++d) {
    if (!reduced[d]) y.shape.push_back(x.shape[d]);
    if (reduced[d] && c.attrs.Bool("keepdims")) y.shape.push_back(1);
  }
  return std::vector<TensorSpec>{y};
}

template <Monoid monoid>
FactorMap ReduceLayout(const LayoutContext& c) {
  FactorMap map;
  const auto reduced = Reduced(c.attrs, c.in(0).rank());
  std::vector<int> x, y;
  for (int d = 0; d < c.in(0).rank(); ++d) {
    Factor factor{.name = absl::StrCat("d", d)};
    if (reduced[d]) factor.reduce = {monoid};
    x.push_back(map.Add(factor));
    if (!reduced[d]) y.push_back(x.back());
    if (reduced[d] && c.attrs.Bool("keepdims")) y.push_back(kWhole);
  }
  map.inputs = {x};
  map.outputs = {y};
  map.linear = {{.monoid = monoid, .inputs = {0}}};
  return map;
}

// Result `value` with its reduced dimensions back at extent 1, so that it broadcasts against x.
Value Kept(GradContext& g, Value value) {
  if (g.attrs().Bool("keepdims")) return value;
  return g.Emit1("reshape", {value}, {{"shape", KeptShape(g.spec(g.input(0)), g.attrs())}});
}

std::vector<Value> SumGradient(GradContext& g) {
  const Shape& shape = g.spec(g.input(0)).shape;
  const std::vector<int64_t> to(shape.begin(), shape.end());
  return g.Emit("broadcast_to", {Kept(g, g.output_grad(0))}, {{"shape", to}});
}

std::vector<Value> MeanGradient(GradContext& g) {
  const double count = LogicalCount(g.spec(g.input(0)), g.attrs());
  return g.Emit("scale", {SumGradient(g)[0]}, {{"factor", 1.0 / count}});
}

// Equal maxima share the gradient.
std::vector<Value> MaxGradient(GradContext& g) {
  const Value hit = g.Emit1("equal", {g.input(0), Kept(g, g.output(0))});
  Attrs keep = g.attrs();
  keep.Set("keepdims", true);
  const Value count = g.Emit1("reduce_sum", {hit}, keep);
  const Value share = g.Emit1("div", {Kept(g, g.output_grad(0)), count});
  return g.Emit("mul", {hit, share});
}

void AddReduce(OpRegistry& ops, const char* name, decltype(OpDef::layout) layout,
               decltype(OpDef::gradient) gradient, Kernel cpu) {
  ops.Add({.name = name,
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"axes", std::vector<int64_t>()}, {"keepdims", false}},
           .infer = InferReduce,
           .layout = layout,
           .gradient = gradient,
           .cost =
               [](const CostContext& c) {
                 return Cost{.flops = static_cast<double>(c.inputs[0].elements()),
                             .bytes = static_cast<double>(c.bytes())};
               },
           .cuda_workspace = ReduceCudaWorkspace,
           .cpu = cpu});
}

}  // namespace

void DefineReduce(OpRegistry& ops) {
  AddReduce(ops, "reduce_sum", ReduceLayout<Monoid::kSum>, SumGradient, ReduceCpu<Sum>);
  AddReduce(ops, "reduce_mean", ReduceLayout<Monoid::kSum>, MeanGradient, ReduceMeanCpu);
  AddReduce(ops, "reduce_max", ReduceLayout<Monoid::kMax>, MaxGradient, ReduceCpu<Max>);
}

}  // namespace weft
