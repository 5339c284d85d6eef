#include "graph/autodiff.h"

#include <string_view>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "graph/grad_context.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Which values depend on a target.
std::vector<bool> Dependents(const Graph& graph, const std::vector<Value>& targets) {
  std::vector<bool> depends(graph.values.size(), false);
  for (Value t : targets) {
    if (t) depends[t.id] = true;
  }
  for (const Node& node : graph.nodes) {
    bool any = false;
    for (Value v : node.inputs) any = any || (v && depends[v.id]);
    for (Value v : node.outputs) depends[v.id] = any;
  }
  return depends;
}

// The gradient of one value: a sum for every mesh that contributes to it, so that each sends once.
class Gradient {
 public:
  explicit operator bool() const { return !parts_.empty(); }

  void Add(GraphBuilder& builder, Value more) {
    const int mesh = builder.graph().info(more).mesh;
    for (Value& part : parts_) {
      if (builder.graph().info(part).mesh != mesh) continue;
      const GraphBuilder::OnMesh there(builder, mesh);
      part = builder.Op("add", {part, more});
      return;
    }
    parts_.push_back(more);
  }

  // The whole; where several meshes contribute, their sum on `mesh`.
  Value Sum(GraphBuilder& builder, int mesh) const {
    Value sum = parts_.empty() ? Value() : parts_[0];
    const GraphBuilder::OnMesh there(builder, mesh);
    for (size_t i = 1; i < parts_.size(); ++i) sum = builder.Op("add", {sum, parts_[i]});
    return sum;
  }

  // The per-step whole of a target that is made once per step, for a loss of every microbatch:
  // every mesh sums over the microbatches before it sends. The sums are named `name`.
  Value Accumulated(GraphBuilder& builder, int mesh, Value loss, std::string_view name) const;

 private:
  absl::InlinedVector<Value, 1> parts_;  // each on a mesh of its own
};

// The scope in which an op was built: "layers.3.mlp" of "layers.3.mlp.output"; "" at the top.
std::string_view ScopeOf(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : name.substr(0, dot);
}

// A gradient that comes from constants alone (of a bias under a linear loss) is made once per step,
// though every microbatch's loss adds to it: tie it to `loss`, made once per microbatch.
Value PerMicrobatch(GraphBuilder& builder, Value grad, Value loss) {
  const DType dtype = builder.spec(grad).dtype;
  if (builder.spec(loss).dtype != dtype) {
    loss = builder.Op("cast", {loss}, {{"dtype", std::string(Name(dtype))}});
  }
  return builder.Op("add", {grad, builder.Op("scale", {loss}, {{"factor", 0.0}})});
}

Value Gradient::Accumulated(GraphBuilder& builder, int mesh, Value loss,
                            std::string_view name) const {
  Gradient steps;
  for (Value part : parts_) {
    const GraphBuilder::OnMesh there(builder, builder.graph().info(part).mesh);
    if (builder.graph().info(part).rate == Rate::kStep) part = PerMicrobatch(builder, part, loss);
    steps.Add(builder, builder.Op("accumulate", {part}, {}, std::string(name)));
  }
  return steps.Sum(builder, mesh);
}

}  // namespace

absl::StatusOr<std::vector<Value>> Differentiate(GraphBuilder& builder, Value loss,
                                                 const std::vector<Value>& targets, Value seed) {
  WEFT_RETURN_IF_ERROR(builder.status());
  if (!loss || builder.spec(loss).rank() != 0 || !IsFloat(builder.spec(loss).dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the loss must be a float scalar, not ", builder.spec(loss).ToString()));
  }
  if (seed && !(builder.spec(seed) == builder.spec(loss))) {
    return absl::InvalidArgumentError(
        absl::StrCat("the gradient of the loss is ", builder.spec(seed).ToString(), "; it must be ",
                     builder.spec(loss).ToString(), " as the loss is"));
  }
  GraphBuilder::Scope scope(builder, "grad");
  const std::vector<bool> depends = Dependents(builder.graph(), targets);
  std::vector<Gradient> grads(builder.graph().values.size());
  if (seed) {
    grads[loss.id].Add(builder, seed);
  } else {
    const GraphBuilder::OnMesh there(builder, builder.graph().info(loss).mesh);
    grads[loss.id].Add(builder, builder.Op("fill", {},
                                           {{"value", 1.0},
                                            {"dtype", std::string(Name(builder.spec(loss).dtype))},
                                            {"shape", std::vector<int64_t>{}}}));
  }
  for (int n = static_cast<int>(builder.graph().nodes.size()) - 1; n >= 0; --n) {
    const Node node = builder.graph().nodes[n];  // a copy: Emit grows the vector
    const GraphBuilder::Scope like(builder, ScopeOf(node.name));
    bool any = false, needed = false;
    for (Value v : node.outputs) {
      // Nodes that this loop emits come after all that are visited, so the size test is enough.
      any = any || (v.id < static_cast<int>(grads.size()) && grads[v.id]);
      needed = needed || (v.id < static_cast<int>(depends.size()) && depends[v.id]);
    }
    if (!any || !needed) continue;
    const int mesh = builder.graph().info(node.outputs[0]).mesh;
    const GraphBuilder::OnMesh there(builder, mesh);
    std::vector<Value> output_grads;
    for (Value v : node.outputs) {
      output_grads.push_back(v.id < static_cast<int>(grads.size()) ? grads[v.id].Sum(builder, mesh)
                                                                   : Value());
    }
    if (node.op->gradient == nullptr) {
      return absl::UnimplementedError(
          absl::StrCat("op '", node.name, "' (", node.op->name,
                       ") has no gradient, but the loss depends on it"));
    }
    std::vector<Value> input_grads;
    {
      GradContext context(builder, node, std::move(output_grads));
      input_grads = node.op->gradient(context);
    }
    WEFT_RETURN_IF_ERROR(
        Annotate(builder.status(), absl::StrCat("differentiating '", node.name, "'")));
    if (input_grads.size() != node.inputs.size()) {
      return absl::InternalError(absl::StrCat("the gradient of ", node.op->name, " answers ",
                                              input_grads.size(), " values for ",
                                              node.inputs.size(), " operands"));
    }
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Value input = node.inputs[i];
      if (!input || !input_grads[i] || !depends[input.id]) continue;
      if (!(builder.spec(input) == builder.spec(input_grads[i]))) {
        return absl::InternalError(absl::StrCat("the gradient of ", node.op->name, " for operand ",
                                                i, " is ", builder.spec(input_grads[i]).ToString(),
                                                " but the operand is ",
                                                builder.spec(input).ToString()));
      }
      grads[input.id].Add(builder, input_grads[i]);
    }
  }
  std::vector<Value> result;
  for (Value t : targets) {
    if (!t || !grads[t.id]) {
      result.push_back(Value());
      continue;
    }
    const int mesh = builder.graph().info(t).mesh;
    const bool sums = builder.graph().info(t).rate == Rate::kStep &&
                      builder.graph().info(loss).rate == Rate::kMicrobatch;
    const std::string name = builder.graph().info(t).name;  // a copy: the table grows
    result.push_back(sums ? grads[t.id].Accumulated(builder, mesh, loss, name)
                          : grads[t.id].Sum(builder, mesh));
  }
  WEFT_RETURN_IF_ERROR(builder.status());
  return result;
}

}  // namespace weft
