// From graph to text; the way back is graph_text_parser.cc.
#include "graph/graph_text.h"

#include <google/protobuf/text_format.h>

#include "graph/derived.h"
#include "graph/graph.pb.h"

namespace weft {
namespace {

std::string LayoutText(const Layout& layout, const Mesh& mesh) {
  return layout.empty() ? "" : ToString(layout, mesh);
}

ValueDef ToDef(const Graph& graph, Value value, const std::string& default_name,
               Rate default_rate) {
  const ValueInfo& info = graph.info(value);
  ValueDef def;
  if (info.name != default_name) def.set_name(info.name);
  def.set_type(info.spec.ToString());
  def.set_mesh(info.mesh);
  if (info.rate != default_rate) {
    def.set_rate(info.rate == Rate::kStep ? RateDef::STEP : RateDef::MICROBATCH);
  }
  if (info.annotation) def.set_annotation(ToString(*info.annotation, graph.mesh(value)));
  def.set_layout(LayoutText(info.layout, graph.mesh(value)));
  return def;
}

template <typename Map>
void ToDef(const Attrs& attrs, Map* map) {
  for (const auto& [name, value] : attrs.values()) ToProto(value, &(*map)[name]);
}

void ToDef(const Graph& graph, const Node& node, NodeDef* def) {
  def->set_name(node.name);
  if (!node.is_reshard()) def->set_op(node.op->name);
  for (Value v : node.inputs) def->add_inputs(v ? graph.info(v).name : "");
  ToDef(node.attrs, def->mutable_attrs());
  const Rate rate = DerivedRate(graph, node);
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    *def->add_outputs() =
        ToDef(graph, node.outputs[i], DefaultResultName(node, static_cast<int>(i)), rate);
  }
  for (size_t i = 0; i < node.input_layouts.size(); ++i) {
    const Value v = node.inputs[i];
    def->add_input_layouts(v ? LayoutText(node.input_layouts[i], graph.mesh(v)) : "");
  }
  def->set_reason(node.reason);
  for (Value v : node.after) def->add_after(graph.info(v).name);
}

}  // namespace

std::string GraphText(const Graph& graph) {
  GraphDef def;
  def.set_name(graph.name);
  for (const Mesh& mesh : graph.meshes) def.add_meshes(mesh.ToString());
  for (const GraphInput& input : graph.inputs) {
    InputDef* input_def = def.add_inputs();
    input_def->set_name(input.name);
    *input_def->mutable_value() = ToDef(graph, input.value, input.name, Rate::kMicrobatch);
  }
  for (const Variable& variable : graph.variables) {
    VariableDef* variable_def = def.add_variables();
    variable_def->set_name(variable.name);
    *variable_def->mutable_value() = ToDef(graph, variable.value, variable.name, Rate::kStep);
    variable_def->set_init_op(variable.init_op);
    ToDef(variable.init_attrs, variable_def->mutable_init_attrs());
    variable_def->set_trainable(variable.trainable);
    if (variable.update) variable_def->set_update(graph.info(variable.update).name);
  }
  for (const Node& node : graph.nodes) ToDef(graph, node, def.add_nodes());
  for (const GraphOutput& output : graph.outputs) {
    OutputDef* output_def = def.add_outputs();
    output_def->set_name(output.name);
    output_def->set_value(graph.info(output.value).name);
  }
  std::string text;
  google::protobuf::TextFormat::PrintToString(def, &text);
  return text;
}

}  // namespace weft
