#include "graph/grad_context.h"

#include "graph/graph_builder.h"

namespace weft {

GradContext::GradContext(GraphBuilder& builder, const Node& node, std::vector<Value> output_grads)
    : builder_(builder),
      inputs_(node.inputs),
      outputs_(node.outputs),
      output_grads_(std::move(output_grads)),
      attrs_(node.attrs) {}

Value GradContext::input(int i) const { return inputs_[i]; }
Value GradContext::output(int i) const { return outputs_[i]; }
int GradContext::num_inputs() const { return static_cast<int>(inputs_.size()); }
const Attrs& GradContext::attrs() const { return attrs_; }
TensorSpec GradContext::spec(Value value) const { return builder_.spec(value); }

std::vector<Value> GradContext::Emit(std::string_view op, std::vector<Value> inputs, Attrs attrs) {
  return builder_.Emit(op, std::move(inputs), std::move(attrs));
}

Value GradContext::ReduceTo(Value grad, const TensorSpec& like) {
  const TensorSpec from = builder_.spec(grad);
  if (from.shape == like.shape) return grad;
  std::vector<int64_t> axes;
  const int lead = from.rank() - like.rank();
  for (int d = 0; d < from.rank(); ++d) {
    if (d < lead || (like.shape[d - lead] == 1 && from.shape[d] != 1)) axes.push_back(d);
  }
  Value reduced = Emit1("reduce_sum", {grad}, {{"axes", axes}, {"keepdims", false}});
  if (builder_.spec(reduced).shape == like.shape) return reduced;
  return Emit1("reshape", {reduced},
               {{"shape", std::vector<int64_t>(like.shape.begin(), like.shape.end())}});
}

}  // namespace weft
