#include "graph/graph.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/status.h"

namespace weft {
namespace {

// How the text form writes an attribute of this one's type.
const char* TextField(const Attr& attr) {
  constexpr const char* kFields[] = {"value { i: 1 }", "value { f: 1.0 }", "value { b: true }",
                                     "value { s: \"text\" }", "value { ints { values: 1 } }"};
  return kFields[attr.index()];
}

bool IsOptional(const std::string& operand) { return operand.back() == '?'; }
bool IsVariadic(const std::string& operand) { return operand.back() == '*'; }

absl::Status VerifyNode(const Graph& graph, const Node& node, int index,
                        const std::vector<bool>& defined) {
  for (Value v : node.inputs) {
    if (v && (v.id >= static_cast<int>(graph.values.size()) || !defined[v.id])) {
      return absl::InvalidArgumentError("an operand is used before it is defined");
    }
  }
  for (Value v : node.after) {
    if (!v || v.id >= static_cast<int>(graph.values.size()) || !defined[v.id]) {
      return absl::InvalidArgumentError("it comes after a value that is not made before it");
    }
    if (graph.spec(v).elements() > 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "it comes after '", graph.info(v).name, "', which has elements; take a token of that"));
    }
  }
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const ValueInfo& info = graph.info(node.outputs[i]);
    if (info.node != index || info.output != static_cast<int>(i)) {
      return absl::InternalError("a result does not point back at its node");
    }
  }
  if (node.is_reshard()) {
    if (node.inputs.size() != 1 || node.outputs.size() != 1 ||
        !(graph.spec(node.inputs[0]) == graph.spec(node.outputs[0]))) {
      return absl::InternalError("a conversion has one operand and a result of the same spec");
    }
    return absl::OkStatus();
  }
  WEFT_RETURN_IF_ERROR(CheckOperandCount(*node.op, node.inputs));
  Attrs attrs = node.attrs;
  WEFT_RETURN_IF_ERROR(CompleteAttrs(*node.op, attrs));
  const std::vector<TensorSpec> inputs = InputSpecs(graph, node);
  WEFT_ASSIGN_OR_RETURN(const std::vector<TensorSpec> inferred,
                        node.op->infer(InferContext{inputs, attrs}));
  if (inferred != OutputSpecs(graph, node)) {
    return absl::InternalError("the results' specs are not what the op infers");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOperandCount(const OpDef& op, const std::vector<Value>& inputs) {
  const size_t n = inputs.size();
  const bool variadic = !op.inputs.empty() && IsVariadic(op.inputs.back());
  if (n > op.inputs.size() && !variadic) {
    return absl::InvalidArgumentError(
        absl::StrCat(n, " operands; ", op.name, " takes (", absl::StrJoin(op.inputs, ", "), ")"));
  }
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    if (!IsOptional(op.inputs[i]) && (i >= n || !inputs[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("operand '", op.inputs[i], "' is missing; ", op.name, " takes (",
                       absl::StrJoin(op.inputs, ", "), ")"));
    }
  }
  return absl::OkStatus();
}

absl::Status CompleteAttrs(const OpDef& op, Attrs& attrs) {
  for (const auto& [name, value] : attrs.values()) {
    auto it = op.attrs.find(name);
    if (it == op.attrs.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(op.name, " has no attribute '", name, "'; it has: ",
                       absl::StrJoin(op.attrs, ", ", [](std::string* out, const auto& entry) {
                         *out += entry.first;
                       })));
    }
    if (it->second.index() != value.index()) {
      return absl::InvalidArgumentError(
          absl::StrCat("attribute '", name, "' of ", op.name, " has the wrong type; write ",
                       TextField(it->second)));
    }
  }
  for (const auto& [name, value] : op.attrs) {
    if (!attrs.Has(name)) attrs.Set(name, value);
  }
  return absl::OkStatus();
}

int WorldSize(const Graph& graph) {
  int highest = 0;
  for (const Mesh& mesh : graph.meshes) {
    for (int rank : mesh.ranks()) highest = std::max(highest, rank);
  }
  return highest + 1;
}

std::vector<TensorSpec> InputSpecs(const Graph& graph, const Node& node) {
  std::vector<TensorSpec> specs;
  for (Value v : node.inputs) specs.push_back(v ? graph.spec(v) : TensorSpec{});
  return specs;
}

std::vector<TensorSpec> OutputSpecs(const Graph& graph, const Node& node) {
  std::vector<TensorSpec> specs;
  for (Value v : node.outputs) specs.push_back(graph.spec(v));
  return specs;
}

absl::Status Verify(const Graph& graph) {
  std::set<std::string> names;
  std::vector<bool> defined(graph.values.size(), false);
  for (const ValueInfo& info : graph.values) {
    if (info.mesh < 0 || info.mesh >= static_cast<int>(graph.meshes.size())) {
      return absl::InternalError(absl::StrCat("value '", info.name, "' lies on no mesh"));
    }
    for (int64_t extent : info.spec.shape) {
      if (extent < 0) {
        return absl::InvalidArgumentError(absl::StrCat("value '", info.name, "' has shape ",
                                                       ToString(info.spec.shape)));
      }
    }
    const Mesh& mesh = graph.meshes[info.mesh];
    if (info.annotation) {
      WEFT_RETURN_IF_ERROR(Annotate(CheckLayout(*info.annotation, mesh, info.spec),
                                    absl::StrCat("annotation of '", info.name, "'")));
      for (const Sbp& sbp : *info.annotation) {
        if (sbp.turn().is_own()) continue;
        return absl::InvalidArgumentError(
            absl::StrCat("annotation of '", info.name, "': ", sbp.ToString(),
                         " is a layout that only passes make; leave the turn out"));
      }
    }
    if (!info.layout.empty()) {
      WEFT_RETURN_IF_ERROR(Annotate(CheckLayout(info.layout, mesh, info.spec),
                                    absl::StrCat("layout of '", info.name, "'")));
    }
  }
  for (const GraphInput& input : graph.inputs) {
    if (!names.insert(input.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("two values are named '", input.name, "'"));
    }
    defined[input.value.id] = true;
  }
  for (const Variable& variable : graph.variables) {
    if (!names.insert(variable.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("two values are named '", variable.name, "'"));
    }
    defined[variable.value.id] = true;
  }
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (!names.insert(node.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("two nodes are named '", node.name, "'"));
    }
    WEFT_RETURN_IF_ERROR(Annotate(VerifyNode(graph, node, static_cast<int>(n), defined),
                                  absl::StrCat("node '", node.name, "'")));
    for (Value v : node.outputs) defined[v.id] = true;
  }
  for (const Variable& variable : graph.variables) {
    if (!variable.update) continue;
    if (!defined[variable.update.id] ||
        !(graph.spec(variable.update) == graph.spec(variable.value))) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the update of variable '", variable.name, "' is ",
          graph.spec(variable.update).ToString(), " but the variable is ",
          graph.spec(variable.value).ToString()));
    }
  }
  std::set<std::string> output_names;
  for (const GraphOutput& output : graph.outputs) {
    if (output.name.empty() || !output_names.insert(output.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two outputs are named '", output.name, "', or one has no name"));
    }
    if (!output.value || !defined[output.value.id]) {
      return absl::InvalidArgumentError(absl::StrCat("output '", output.name, "' is not defined"));
    }
  }
  return absl::OkStatus();
}

}  // namespace weft
