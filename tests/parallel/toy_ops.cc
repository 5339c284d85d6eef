#include "tests/parallel/toy_ops.h"

#include <map>

#include "absl/strings/str_split.h"

namespace weft {
namespace {

using Specs = std::vector<TensorSpec>;

std::vector<std::string> Terms(const Attrs& attrs) {
  return absl::StrSplit(attrs.String("equation"), absl::ByAnyChar(",->"), absl::SkipEmpty());
}

absl::StatusOr<Specs> InferContract(const InferContext& c) {
  const std::vector<std::string> terms = Terms(c.attrs);
  std::map<char, int64_t> extents;
  for (int i = 0; i < 2; ++i) {
    if (terms[i].size() != static_cast<size_t>(c.in(i).rank())) {
      return absl::InvalidArgumentError("ranks differ from the equation's");
    }
    for (int d = 0; d < c.in(i).rank(); ++d) extents[terms[i][d]] = c.in(i).shape[d];
  }
  TensorSpec out{{}, c.attrs.String("dtype") == "f32" ? DType::kF32 : c.in(0).dtype};
  for (char label : terms[2]) out.shape.push_back(extents[label]);
  if (c.num_inputs() > 2 && !(c.in(2) == out)) {
    return absl::InvalidArgumentError("the addend is not as the result");
  }
  return Specs{out};
}

FactorMap LayoutContract(const LayoutContext& c) {
  FactorMap map;
  std::map<char, int> ids;
  auto row = [&](const std::string& term) {
    std::vector<int> dims;
    for (char label : term) {
      if (!ids.count(label)) {
        ids[label] = map.Add({.name = std::string(1, label),
                              .reduce = {Monoid::kSum},
                              .must_divide = 0,
                              .zigzag = true});
      }
      dims.push_back(ids[label]);
    }
    return dims;
  };
  const std::vector<std::string> terms = Terms(c.attrs);
  map.inputs = {row(terms[0]), row(terms[1])};
  map.outputs = {row(terms[2])};
  map.linear = {{Monoid::kSum, {0}}, {Monoid::kSum, {1}}};
  if (c.num_inputs() > 2) {
    map.inputs.push_back(map.outputs[0]);
    for (Linearity& linear : map.linear) linear.inputs.push_back(2);
  }
  return map;
}

Cost CostContract(const CostContext& c) {
  double flops = 2;
  std::map<char, int64_t> extents;
  const std::vector<std::string> terms = Terms(c.attrs);
  for (int i = 0; i < 2; ++i) {
    for (size_t d = 0; d < terms[i].size(); ++d) extents[terms[i][d]] = c.inputs[i].shape[d];
  }
  for (const auto& [label, extent] : extents) flops *= static_cast<double>(extent);
  return {.flops = flops, .bytes = static_cast<double>(c.bytes())};
}

Cost CostTouch(const CostContext& c) { return {.bytes = static_cast<double>(c.bytes())}; }

absl::StatusOr<Specs> InferLike(const InferContext& c) { return c.Like(0); }

FactorMap LayoutLinear(const LayoutContext& c) {
  FactorMap map = c.Elementwise();
  Linearity all;
  for (int i = 0; i < c.num_inputs(); ++i) all.inputs.push_back(i);
  map.linear.push_back(all);
  return map;
}

FactorMap LayoutTotal(const LayoutContext& c) {
  FactorMap map;
  map.inputs.emplace_back();
  map.outputs.emplace_back();
  for (int d = 0; d < c.in(0).rank(); ++d) {
    map.inputs[0].push_back(map.Add(
        {.name = std::to_string(d), .reduce = {Monoid::kSum}, .must_divide = 0, .zigzag = true}));
  }
  map.linear = {{Monoid::kSum, {0}}};
  return map;
}

absl::StatusOr<Specs> InferFill(const InferContext& c) {
  const std::vector<int64_t>& shape = c.attrs.Ints("shape");
  return Specs{{Shape(shape.begin(), shape.end()), DType::kF32}};
}

OpDef Toy(std::string name, std::vector<std::string> inputs, decltype(OpDef::layout) layout) {
  OpDef op;
  op.name = std::move(name);
  op.inputs = std::move(inputs);
  op.outputs = {"y"};
  op.infer = InferLike;
  op.layout = layout;
  op.cost = CostTouch;
  return op;
}

}  // namespace

OpRegistry ToyOps() {
  OpRegistry ops;
  OpDef contract = Toy("contract", {"a", "b", "addend?"}, LayoutContract);
  contract.attrs = {{"equation", std::string()}, {"dtype", std::string()}};
  contract.infer = InferContract;
  contract.cost = CostContract;
  contract.addend = 2;
  contract.wide_result = "dtype";
  ops.Add(contract);
  for (const auto& [name, inputs] :
       std::map<std::string, std::vector<std::string>>{{"add", {"a", "b"}}, {"add_n", {"xs*"}}}) {
    OpDef sum = Toy(name, inputs, LayoutLinear);
    sum.sums_operands = true;
    ops.Add(sum);
  }
  auto elementwise = [](const LayoutContext& c) { return c.Elementwise(); };
  ops.Add(Toy("relu", {"x"}, elementwise));
  OpDef step = Toy("step", {"param", "grad"}, elementwise);
  step.takes_narrow = {1};
  ops.Add(step);
  ops.Add(Toy("norm", {"x"},
              [](const LayoutContext& c) { return c.ElementwiseExcept(c.in(0).rank() - 1); }));
  OpDef total = Toy("total", {"x"}, LayoutTotal);
  total.infer = [](const InferContext& c) -> absl::StatusOr<Specs> {
    return Specs{{{}, c.in(0).dtype}};
  };
  ops.Add(total);
  OpDef cast = Toy("cast", {"x"}, LayoutLinear);  // to bf16
  cast.infer = [](const InferContext& c) -> absl::StatusOr<Specs> {
    return Specs{{c.in(0).shape, DType::kBF16}};
  };
  cast.converts = true;
  ops.Add(cast);
  OpDef widen = Toy("widen", {"x"}, LayoutLinear);  // to f32
  widen.infer = [](const InferContext& c) -> absl::StatusOr<Specs> {
    return Specs{{c.in(0).shape, DType::kF32}};
  };
  widen.converts = true;
  ops.Add(widen);
  OpDef accumulate = Toy("accumulate", {"x"}, LayoutLinear);
  accumulate.sums_microbatches = true;
  ops.Add(accumulate);
  OpDef fill = Toy("fill", {}, elementwise);
  fill.attrs = {{"shape", std::vector<int64_t>()}, {"value", 0.0}};
  fill.infer = InferFill;
  ops.Add(fill);
  return ops;
}

}  // namespace weft
