#include "tests/graph/toy_ops.h"

#include "absl/strings/str_cat.h"
#include "graph/grad_context.h"

namespace weft::testing {
namespace {

using Specs = absl::StatusOr<std::vector<TensorSpec>>;

FactorMap NoFactors(const LayoutContext& c) {
  FactorMap map;
  for (const TensorSpec& spec : c.inputs) map.inputs.emplace_back(spec.rank(), kWhole);
  for (const TensorSpec& spec : c.outputs) map.outputs.emplace_back(spec.rank(), kWhole);
  return map;
}

Cost Bytes(const CostContext& c) { return {.flops = 1, .bytes = static_cast<double>(c.bytes())}; }

Specs Same(const InferContext& c) { return c.Like(0); }
Specs Scalar64(const InferContext&) { return std::vector<TensorSpec>{{{}, DType::kF64}}; }

Specs Broadcast(const InferContext& c) {
  TensorSpec result = c.in(0).rank() >= c.in(1).rank() ? c.in(0) : c.in(1);
  for (const TensorSpec& spec : c.inputs) {
    const int skip = result.rank() - spec.rank();
    for (int d = 0; d < spec.rank(); ++d) {
      int64_t& extent = result.shape[d + skip];
      if (extent == 1) extent = spec.shape[d];
      if (spec.shape[d] != 1 && spec.shape[d] != extent) {
        return absl::InvalidArgumentError(absl::StrCat("shapes ", c.in(0).ToString(), " and ",
                                                       c.in(1).ToString(), " do not broadcast"));
      }
    }
  }
  return std::vector<TensorSpec>{result};
}

Specs Shaped(const InferContext& c) {
  TensorSpec spec;
  if (c.num_inputs() > 0) spec.dtype = c.in(0).dtype;
  for (int64_t extent : c.attrs.Ints("shape")) spec.shape.push_back(extent);
  if (c.attrs.Has("dtype")) {
    absl::StatusOr<DType> dtype = ParseDType(c.attrs.String("dtype"));
    if (!dtype.ok()) return dtype.status();
    spec.dtype = *dtype;
  }
  return std::vector<TensorSpec>{spec};
}

Specs Cast(const InferContext& c) {
  absl::StatusOr<DType> dtype = ParseDType(c.attrs.String("dtype"));
  if (!dtype.ok()) return dtype.status();
  return std::vector<TensorSpec>{{c.in(0).shape, *dtype}};
}

Specs Matmul(const InferContext& c) {
  const int ta = c.attrs.Bool("transpose_a"), tb = c.attrs.Bool("transpose_b");
  if (c.in(0).rank() != 2 || c.in(1).rank() != 2 || c.in(0).shape[1 - ta] != c.in(1).shape[tb]) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot multiply ", c.in(0).ToString(), " by ", c.in(1).ToString()));
  }
  return std::vector<TensorSpec>{{{c.in(0).shape[ta], c.in(1).shape[1 - tb]}, c.in(0).dtype}};
}

Specs ReduceSum(const InferContext& c) {
  TensorSpec spec{{}, c.in(0).dtype};
  for (int d = 0; d < c.in(0).rank(); ++d) {
    bool reduced = false;
    for (int64_t axis : c.attrs.Ints("axes")) reduced = reduced || axis == d;
    if (!reduced) spec.shape.push_back(c.in(0).shape[d]);
    if (reduced && c.attrs.Bool("keepdims")) spec.shape.push_back(1);
  }
  return std::vector<TensorSpec>{spec};
}

Specs Halves(const InferContext& c) {
  TensorSpec half = c.in(0);
  if (half.rank() != 1 || half.shape[0] % 2) {
    return absl::InvalidArgumentError("halves needs an even vector");
  }
  half.shape[0] /= 2;
  return std::vector<TensorSpec>{half, half};
}

Attrs ShapeOf(GradContext& g, Value v) {
  const Shape& shape = g.spec(v).shape;
  return {{"shape", std::vector<int64_t>(shape.begin(), shape.end())}};
}

std::vector<Value> SumGrad(GradContext& g) {
  Shape kept = g.spec(g.input(0)).shape;
  for (int64_t axis : g.attrs().Ints("axes")) kept[axis] = 1;
  Value dy = g.Emit1("reshape", {g.output_grad(0)},
                     {{"shape", std::vector<int64_t>(kept.begin(), kept.end())}});
  return {g.Emit1("broadcast_to", {dy}, ShapeOf(g, g.input(0)))};
}

std::vector<Value> MatmulGrad(GradContext& g) {
  return {g.Emit1("matmul", {g.output_grad(0), g.input(1)}, {{"transpose_b", true}}),
          g.Emit1("matmul", {g.input(0), g.output_grad(0)}, {{"transpose_a", true}})};
}

std::vector<Value> HalvesGrad(GradContext& g) {
  std::vector<Value> halves = {g.output_grad(0), g.output_grad(1)};
  for (int i = 0; i < 2; ++i) {
    if (!halves[i]) halves[i] = g.Emit1("scale", {g.output(i)}, {{"factor", 0.0}});
  }
  return {g.Emit1("join", halves)};
}

void AddDifferentiable(OpRegistry& ops) {
  ops.Add({.name = "add",
           .inputs = {"a", "b"},
           .outputs = {"y"},
           .attrs = {},
           .infer = Broadcast,
           .layout = [](const LayoutContext& c) { return c.Elementwise(); },
           .gradient = [](GradContext& g) -> std::vector<Value> {
             return {g.ReduceTo(g.output_grad(0), g.spec(g.input(0))),
                     g.ReduceTo(g.output_grad(0), g.spec(g.input(1)))};
           },
           .cost = Bytes});
  ops.Add({.name = "mul",
           .inputs = {"a", "b"},
           .outputs = {"y"},
           .attrs = {},
           .infer = Broadcast,
           .layout = [](const LayoutContext& c) { return c.Elementwise(); },
           .gradient = [](GradContext& g) -> std::vector<Value> {
             Value da = g.Emit1("mul", {g.output_grad(0), g.input(1)});
             Value db = g.Emit1("mul", {g.output_grad(0), g.input(0)});
             return {g.ReduceTo(da, g.spec(g.input(0))), g.ReduceTo(db, g.spec(g.input(1)))};
           },
           .cost = Bytes});
  ops.Add({.name = "scale",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"factor", 1.0}},
           .infer = Same,
           .layout = NoFactors,
           .gradient = [](GradContext& g) -> std::vector<Value> {
             return {g.Emit1("scale", {g.output_grad(0)}, {{"factor", g.attrs().Float("factor")}})};
           },
           .cost = Bytes});
  ops.Add({.name = "square",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {},
           .infer = Same,
           .layout = NoFactors,
           .gradient = [](GradContext& g) -> std::vector<Value> {
             Value twice = g.Emit1("scale", {g.input(0)}, {{"factor", 2.0}});
             return {g.Emit1("mul", {g.output_grad(0), twice})};
           },
           .cost = Bytes});
  ops.Add({.name = "cast",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"dtype", std::string("f32")}},
           .infer = Cast,
           .layout = NoFactors,
           .gradient = [](GradContext& g) -> std::vector<Value> {
             const std::string dtype(Name(g.spec(g.input(0)).dtype));
             return {g.Emit1("cast", {g.output_grad(0)}, {{"dtype", dtype}})};
           },
           .cost = Bytes});
  ops.Add({.name = "matmul",
           .inputs = {"a", "b"},
           .outputs = {"y"},
           .attrs = {{"transpose_a", false}, {"transpose_b", false}},
           .infer = Matmul,
           .layout = NoFactors,
           .gradient = MatmulGrad,
           .cost = Bytes});
  ops.Add({.name = "reduce_sum",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"axes", std::vector<int64_t>{}}, {"keepdims", false}},
           .infer = ReduceSum,
           .layout = NoFactors,
           .gradient = SumGrad,
           .cost = Bytes});
  ops.Add({.name = "halves",
           .inputs = {"x"},
           .outputs = {"low", "high"},
           .attrs = {},
           .infer = Halves,
           .layout = NoFactors,
           .gradient = HalvesGrad,
           .cost = Bytes});
  ops.Add({.name = "pick",
           .inputs = {"x", "y?"},
           .outputs = {"z"},
           .attrs = {},
           .infer = Same,
           .layout = NoFactors,
           .gradient = [](GradContext& g) -> std::vector<Value> {
             std::vector<Value> grads(g.num_inputs());
             grads[0] = g.output_grad(0);
             return grads;
           },
           .cost = Bytes});
}

void AddPlain(OpRegistry& ops) {
  const Attr no_shape = std::vector<int64_t>{};
  ops.Add({.name = "join",
           .inputs = {"low", "high"},
           .outputs = {"y"},
           .attrs = {},
           .infer = [](const InferContext& c) -> Specs {
             TensorSpec whole = c.in(0);
             whole.shape[0] += c.in(1).shape[0];
             return std::vector<TensorSpec>{whole};
           },
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "floor",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {},
           .infer = Same,
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "reshape",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"shape", no_shape}},
           .infer = Shaped,
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "broadcast_to",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {{"shape", no_shape}},
           .infer = Shaped,
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "fill",
           .inputs = {},
           .outputs = {"y"},
           .attrs = {{"shape", no_shape}, {"value", 0.0}, {"dtype", std::string("f32")}},
           .infer = Shaped,
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "random_normal",
           .inputs = {},
           .outputs = {"y"},
           .attrs = {{"shape", no_shape}, {"mean", 0.0}, {"stddev", 1.0}, {"seed", int64_t{0}}},
           .infer = Shaped,
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "accumulate",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {},
           .infer = Same,
           .layout = NoFactors,
           .cost = Bytes,
           .sums_microbatches = true});
  ops.Add({.name = "add_n",
           .inputs = {"xs*"},
           .outputs = {"y"},
           .attrs = {},
           .infer = Same,
           .layout = NoFactors,
           .cost = Bytes});
}

Specs LikeInputs(const InferContext& c, int count) {
  return std::vector<TensorSpec>(c.inputs.begin(), c.inputs.begin() + count);
}

void AddOptimizers(OpRegistry& ops) {
  ops.Add({.name = "sum_squares",
           .inputs = {"x"},
           .outputs = {"y"},
           .attrs = {},
           .infer = Scalar64,
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "clip_scale",
           .inputs = {"sum_sq", "loss_scale?"},
           .outputs = {"scale", "norm"},
           .attrs = {{"max_norm", 0.0}},
           .infer = [](const InferContext&) -> Specs { return std::vector<TensorSpec>(2); },
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "loss_scale_update",
           .inputs = {"scale", "good_steps", "updates", "sum_sq"},
           .outputs = {"scale", "good_steps", "updates", "skip"},
           .attrs = {{"growth_every", int64_t{1}}, {"most", 0.0}, {"fixed", false}},
           .infer = [](const InferContext&) -> Specs { return std::vector<TensorSpec>(4); },
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "sgd",
           .inputs = {"param", "momentum", "grad", "lr", "clip", "skip?"},
           .outputs = {"param", "momentum"},
           .attrs = {{"momentum", 0.0}, {"weight_decay", 0.0}, {"nesterov", false}},
           .infer = [](const InferContext& c) { return LikeInputs(c, 2); },
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "adamw",
           .inputs = {"param", "m", "v", "grad", "lr", "step", "clip", "skip?"},
           .outputs = {"param", "m", "v", "grad_sq"},
           .attrs = {{"beta1", 0.0}, {"beta2", 0.0}, {"eps", 0.0}, {"weight_decay", 0.0}},
           .infer = [](const InferContext& c) -> Specs {
             return std::vector<TensorSpec>{c.in(0), c.in(1), c.in(2), {{}, DType::kF64}};
           },
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "lamb_update",
           .inputs = {"param", "m", "v", "grad", "step", "clip", "skip?"},
           .outputs = {"m", "v", "u"},
           .attrs = {{"beta1", 0.0},
                     {"beta2", 0.0},
                     {"eps", 0.0},
                     {"weight_decay", 0.0},
                     {"bias_correction", true}},
           .infer = [](const InferContext& c) { return LikeInputs(c, 3); },
           .layout = NoFactors,
           .cost = Bytes});
  ops.Add({.name = "lamb_apply",
           .inputs = {"param", "u", "param_sq", "u_sq", "lr", "skip?"},
           .outputs = {"param"},
           .attrs = {},
           .infer = Same,
           .layout = NoFactors,
           .cost = Bytes});
}

}  // namespace

OpRegistry ToyOps() {
  OpRegistry ops;
  AddDifferentiable(ops);
  AddPlain(ops);
  AddOptimizers(ops);
  return ops;
}

}  // namespace weft::testing
