// GradContext: what an op's gradient function sees. It emits ops into the graph like any builder.
#pragma once

#include <string_view>
#include <vector>

#include "graph/value.h"
#include "runtime/attrs.h"
#include "runtime/tensor_spec.h"

namespace weft {

class GraphBuilder;
struct Node;

class GradContext {
 public:
  GradContext(GraphBuilder& builder, const Node& node, std::vector<Value> output_grads);

  Value input(int i) const;
  Value output(int i) const;
  int num_inputs() const;
  // Gradient arriving at result i; Value() if nothing differentiable uses it.
  Value output_grad(int i) const { return output_grads_[i]; }
  const Attrs& attrs() const;
  // Logical spec of a value; a copy, since Emit moves the graph's own.
  TensorSpec spec(Value value) const;
  // Adds an op; its results. Errors stick in the builder.
  std::vector<Value> Emit(std::string_view op, std::vector<Value> inputs, Attrs attrs = {});
  // Emit of an op with one result.
  Value Emit1(std::string_view op, std::vector<Value> inputs, Attrs attrs = {}) {
    return Emit(op, std::move(inputs), std::move(attrs))[0];
  }
  // Sums `grad` over the dimensions along which `like` was broadcast to it.
  Value ReduceTo(Value grad, const TensorSpec& like);

 private:
  GraphBuilder& builder_;
  std::vector<Value> inputs_, outputs_, output_grads_;
  Attrs attrs_;
};

}  // namespace weft
