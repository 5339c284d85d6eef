// The gradient law: what an op's gradient function emits equals central differences of the op's own
// kernel, in f64. The emitted graph is evaluated node by node with the real kernels.
#include <algorithm>
#include <cmath>
#include <map>

#include "graph/autodiff.h"
#include "graph/graph_builder.h"
#include "gtest/gtest.h"
#include "kernels/all_ops.h"
#include "tests/kernels/op_samples.h"

namespace weft::testing {
namespace {

const OpRegistry& Ops() {
  static const OpRegistry* ops = [] {
    auto* made = new OpRegistry;
    DefineAllOps(*made);
    return made;
  }();
  return *ops;
}

// All values of the graph, given those of its inputs.
absl::StatusOr<std::map<int, HostTensor>> Evaluate(const Graph& graph,
                                                   std::map<int, HostTensor> values) {
  for (const Node& node : graph.nodes) {
    std::vector<HostTensor> inputs;
    for (Value v : node.inputs) inputs.push_back(v ? values.at(v.id) : Absent());
    auto results = RunKernel(*node.op, node.attrs, inputs);
    if (!results.ok()) return results.status();
    for (size_t o = 0; o < node.outputs.size(); ++o) {
      values[node.outputs[o].id] = std::move((*results)[o]);
    }
  }
  return values;
}

// The loss sum over results r of <weight_r, op(inputs)_r>, by a direct run of the kernel.
double Loss(const OpDef& op, const OpSample& sample, const Attrs& attrs,
            const std::vector<HostTensor>& weights) {
  const auto results = RunKernel(op, attrs, sample.inputs);
  EXPECT_TRUE(results.ok()) << results.status();
  if (!results.ok()) return 0;
  double loss = 0;
  for (size_t k = 0; k < weights.size(); ++k) {
    const HostTensor& result = (*results)[sample.differentiate[k]];
    for (size_t i = 0; i < result.values.size(); ++i) {
      loss += weights[k].values[i] * result.values[i];
    }
  }
  return loss;
}

class OpGradients : public ::testing::TestWithParam<std::string> {};

void CheckGradient(const OpDef& op, const OpSample& sample) {
  const Attrs attrs = Completed(op, sample.attrs);
  GraphBuilder builder(Ops());
  std::map<int, HostTensor> values;
  std::vector<Value> inputs, targets;
  std::vector<int> target_inputs;
  auto bind = [&](const HostTensor& x) {
    if (x.absent()) return Value();
    const Value v = builder.Input(absl::StrCat("x", values.size()), x.spec, Rate::kStep);
    values[v.id] = x;
    return v;
  };
  for (size_t i = 0; i < sample.inputs.size(); ++i) {
    inputs.push_back(bind(sample.inputs[i]));
    if (sample.inputs[i].spec.dtype != DType::kF64) continue;
    if (std::count(sample.constants.begin(), sample.constants.end(), static_cast<int>(i))) continue;
    targets.push_back(inputs.back());
    target_inputs.push_back(static_cast<int>(i));
  }
  const std::vector<Value> results = builder.Emit(op.name, inputs, sample.attrs);
  ASSERT_TRUE(builder.status().ok()) << builder.status();
  std::vector<HostTensor> weights;
  Value loss;
  for (int r : sample.differentiate) {
    const TensorSpec spec = builder.spec(results[r]);
    ASSERT_EQ(spec.dtype, DType::kF64) << "gradients are checked in f64";
    weights.push_back(Sixteenths(spec, 1000 + r));
    const Value product = builder.Op("mul", {results[r], bind(weights.back())});
    const Value sum = builder.Op("reduce_sum", {product});
    loss = loss ? builder.Op("add", {loss, sum}) : sum;
  }
  const auto grads = Differentiate(builder, loss, targets);
  ASSERT_TRUE(grads.ok()) << grads.status();
  const auto evaluated = Evaluate(builder.graph(), values);
  ASSERT_TRUE(evaluated.ok()) << evaluated.status();
  for (size_t t = 0; t < targets.size(); ++t) {
    OpSample moved = sample;
    HostTensor& x = moved.inputs[target_inputs[t]];
    for (size_t i = 0; i < x.values.size(); ++i) {
      const double at = x.values[i], step = 1e-5;
      x.values[i] = at + step;
      const double above = Loss(op, moved, attrs, weights);
      x.values[i] = at - step;
      const double below = Loss(op, moved, attrs, weights);
      x.values[i] = at;
      const double slope = (above - below) / (2 * step);
      const double got = (*grads)[t] ? evaluated->at((*grads)[t].id).values[i] : 0;
      ASSERT_NEAR(got, slope, 2e-7 * std::max(1.0, std::abs(slope)))
          << "operand " << target_inputs[t] << " element " << i;
    }
  }
}

TEST_P(OpGradients, EqualsCentralDifferences) {
  const OpDef& op = *Ops().Find(GetParam());
  int samples = 0;
  for (const OpSample& sample : OpSamples(DType::kF64)) {
    if (sample.op != op.name || sample.differentiate.empty()) continue;
    if (NumElements(sample.inputs[0].spec.shape) > 2500) continue;
    ++samples;
    SCOPED_TRACE(absl::StrCat(op.name, " ", sample.attrs.ToString()));
    CheckGradient(op, sample);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(samples, 0) << "no sample of '" << op.name << "' is differentiated";
}

std::vector<std::string> DifferentiableOps() {
  std::vector<std::string> names;
  for (const OpDef* op : Ops().All()) {
    if (op->gradient != nullptr) names.push_back(op->name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, OpGradients, ::testing::ValuesIn(DifferentiableOps()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace weft::testing
