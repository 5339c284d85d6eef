// From untrusted text to a legal graph. Every reference is checked before it is followed.
#include <google/protobuf/text_format.h>

#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "graph/derived.h"
#include "graph/graph.pb.h"
#include "graph/graph_text.h"
#include "graph/spec_text.h"
#include "runtime/near_name.h"
#include "runtime/status.h"
#include "runtime/text_error.h"
#include "runtime/utf8.h"

namespace weft {
namespace {

using google::protobuf::TextFormat;

constexpr int kMaxNesting = 32;

absl::Status CheckText(const std::string& name) {
  if (IsUtf8(name)) return absl::OkStatus();
  return absl::InvalidArgumentError("the name is not UTF-8 text; rename it");
}

class Parser {
 public:
  Parser(const OpRegistry& ops, std::string_view file, const Mesh& mesh) : ops_(ops), file_(file) {
    graph_.meshes = {mesh};
  }
  absl::StatusOr<Graph> Parse(const std::string& text);

 private:
  absl::Status Syntax(const std::string& text);
  // Updates and outputs, which may name any value.
  absl::Status References();

  absl::Status AddInput(const InputDef& def);
  absl::Status AddVariable(const VariableDef& def);
  absl::Status AddNode(const NodeDef& def, int index);
  absl::Status AddResults(const NodeDef& def, Node& node, std::vector<TensorSpec> specs);
  absl::Status ReadInputLayouts(const NodeDef& def, Node& node);
  absl::StatusOr<std::vector<TensorSpec>> Infer(const NodeDef& def, Node& node);
  absl::StatusOr<Value> AddValue(const ValueDef& def, std::string default_name, TensorSpec spec,
                                 Rate rate);
  absl::StatusOr<Value> Find(const std::string& name) const;
  // "; did you mean 'x'?" among the values so far.
  std::string SuggestValue(const std::string& name) const;
  absl::StatusOr<const OpDef*> FindOp(const std::string& name) const;
  absl::Status Claim(const std::string& name);
  template <typename Map>
  absl::StatusOr<Attrs> ReadAttrs(const OpDef& op, const Map& map) const;
  // "file:line: what: message" for element `index` of GraphDef's repeated field `field`.
  absl::Status At(const absl::Status& status, const char* field, int index,
                  const std::string& what) const;

  const OpRegistry& ops_;
  const std::string file_;
  GraphDef def_;
  TextFormat::ParseInfoTree lines_;
  Graph graph_;
  std::map<std::string, Value> values_;
  std::set<std::string> names_;             // of inputs, variables and nodes
  std::map<std::string, int> later_nodes_;  // name -> index, to explain a use before definition
};

absl::Status Parser::At(const absl::Status& status, const char* field, int index,
                        const std::string& what) const {
  if (status.ok()) return status;
  const TextFormat::ParseLocation place =
      lines_.GetLocation(GraphDef::descriptor()->FindFieldByName(field), index);
  return absl::InvalidArgumentError(
      absl::StrCat(file_, ":", place.line + 1, ": ", what, ": ", std::string(status.message())));
}

absl::Status Parser::Syntax(const std::string& text) {
  FirstTextError error(*GraphDef::descriptor(), file_, text);
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(kMaxNesting);
  parser.WriteLocationsTo(&lines_);
  if (parser.ParseFromString(text, &def_)) return absl::OkStatus();
  return absl::InvalidArgumentError(error.text().empty() ? absl::StrCat(file_, ": not graph text")
                                                         : error.text());
}

absl::StatusOr<Value> Parser::Find(const std::string& name) const {
  auto it = values_.find(name);
  if (it != values_.end()) return it->second;
  if (later_nodes_.count(name.substr(0, name.find(':')))) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", name,
                     "' is used before it is defined; a graph has no cycles, and its "
                     "nodes stand after their operands"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("nothing is named '", name, "'", SuggestValue(name)));
}

std::string Parser::SuggestValue(const std::string& name) const {
  std::vector<std::string> known;
  for (const auto& [value, unused] : values_) known.push_back(value);
  const std::string near = NearName(name, known);
  if (!near.empty()) return absl::StrCat("; did you mean '", near, "'?");
  return "; name an input, a variable or a node that stands before";
}

absl::StatusOr<const OpDef*> Parser::FindOp(const std::string& name) const {
  if (const OpDef* op = ops_.Find(name)) return op;
  std::vector<std::string> known;
  for (const OpDef* op : ops_.All()) known.push_back(op->name);
  return absl::InvalidArgumentError(
      absl::StrCat("no op is named '", name, "'", Suggest(name, known)));
}

absl::Status Parser::Claim(const std::string& name) {
  if (name.empty()) {
    return absl::InvalidArgumentError("the name is empty; give every element a name");
  }
  WEFT_RETURN_IF_ERROR(CheckText(name));
  if (names_.insert(name).second) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "the name is taken; inputs, variables and nodes each need a name of their own");
}

template <typename Map>
absl::StatusOr<Attrs> Parser::ReadAttrs(const OpDef& op, const Map& map) const {
  Attrs attrs;
  for (const auto& [name, value] : map) {
    absl::StatusOr<Attr> attr = FromProto(value);
    WEFT_RETURN_IF_ERROR(Annotate(attr.status(), absl::StrCat("attribute '", name, "'")));
    attrs.Set(name, *std::move(attr));
  }
  WEFT_RETURN_IF_ERROR(CompleteAttrs(op, attrs));
  return attrs;
}

absl::StatusOr<Value> Parser::AddValue(const ValueDef& def, std::string default_name,
                                       TensorSpec spec, Rate rate) {
  WEFT_RETURN_IF_ERROR(CheckText(def.name()));
  ValueInfo info;
  info.name = def.name().empty() ? std::move(default_name) : def.name();
  info.spec = std::move(spec);
  info.mesh = def.mesh();
  info.rate = rate;
  switch (def.rate()) {
    case RateDef::RATE_DERIVED: break;
    case RateDef::MICROBATCH: info.rate = Rate::kMicrobatch; break;
    case RateDef::STEP: info.rate = Rate::kStep; break;
    default: return absl::InvalidArgumentError(absl::StrCat("no rate has number ", def.rate()));
  }
  if (info.mesh < 0 || info.mesh >= static_cast<int>(graph_.meshes.size())) {
    return absl::InvalidArgumentError(absl::StrCat("mesh ", info.mesh, " of ", graph_.meshes.size(),
                                                   " does not exist; meshes count from 0"));
  }
  const Mesh& mesh = graph_.meshes[info.mesh];
  if (!def.annotation().empty()) {
    WEFT_ASSIGN_OR_RETURN(info.annotation, ParseLayout(def.annotation(), mesh));
    WEFT_RETURN_IF_ERROR(Annotate(CheckLayout(*info.annotation, mesh, info.spec), "annotation"));
  }
  if (!def.layout().empty()) {
    WEFT_ASSIGN_OR_RETURN(info.layout, ParseLayout(def.layout(), mesh));
    WEFT_RETURN_IF_ERROR(Annotate(CheckLayout(info.layout, mesh, info.spec), "layout"));
  }
  const Value value{static_cast<int>(graph_.values.size())};
  if (!values_.emplace(info.name, value).second) {
    return absl::InvalidArgumentError(
        absl::StrCat("two values are named '", info.name, "'; rename one of them"));
  }
  graph_.values.push_back(std::move(info));
  return value;
}

absl::Status Parser::AddInput(const InputDef& def) {
  WEFT_RETURN_IF_ERROR(Claim(def.name()));
  WEFT_ASSIGN_OR_RETURN(TensorSpec spec, ParseSpec(def.value().type()));
  WEFT_ASSIGN_OR_RETURN(const Value value,
                        AddValue(def.value(), def.name(), std::move(spec), Rate::kMicrobatch));
  graph_.inputs.push_back({def.name(), value});
  return absl::OkStatus();
}

absl::Status Parser::AddVariable(const VariableDef& def) {
  WEFT_RETURN_IF_ERROR(Claim(def.name()));
  WEFT_ASSIGN_OR_RETURN(TensorSpec spec, ParseSpec(def.value().type()));
  const OpDef* op = ops_.Find(def.init_op());
  if (op == nullptr || !op->inputs.empty() || op->outputs.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "init_op '", def.init_op(), "' is not an op that makes a tensor from nothing"));
  }
  Variable variable;
  variable.name = def.name();
  variable.init_op = def.init_op();
  variable.trainable = def.trainable();
  WEFT_ASSIGN_OR_RETURN(variable.init_attrs, ReadAttrs(*op, def.init_attrs()));
  absl::StatusOr<std::vector<TensorSpec>> made = op->infer(InferContext{{}, variable.init_attrs});
  WEFT_RETURN_IF_ERROR(Annotate(made.status(), def.init_op()));
  if (made->size() != 1 || made->front().shape != spec.shape) {
    return absl::InvalidArgumentError(
        absl::StrCat(def.init_op(), " makes ", made->empty() ? "nothing" : made->front().ToString(),
                     " but the variable is ", spec.ToString()));
  }
  WEFT_ASSIGN_OR_RETURN(variable.value,
                        AddValue(def.value(), def.name(), std::move(spec), Rate::kStep));
  graph_.variables.push_back(std::move(variable));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TensorSpec>> Parser::Infer(const NodeDef& def, Node& node) {
  if (def.op().empty()) {
    if (node.inputs.size() != 1 || !node.inputs[0] || def.attrs_size() > 0) {
      return absl::InvalidArgumentError(
          "a node without an op is a conversion: one operand, no attributes");
    }
    return InputSpecs(graph_, node);
  }
  WEFT_ASSIGN_OR_RETURN(node.op, FindOp(def.op()));
  WEFT_RETURN_IF_ERROR(CheckOperandCount(*node.op, node.inputs));
  WEFT_ASSIGN_OR_RETURN(node.attrs, ReadAttrs(*node.op, def.attrs()));
  const std::vector<TensorSpec> inputs = InputSpecs(graph_, node);
  return node.op->infer(InferContext{inputs, node.attrs});
}

absl::Status Parser::AddResults(const NodeDef& def, Node& node, std::vector<TensorSpec> specs) {
  const int results = static_cast<int>(specs.size());
  if (def.outputs_size() > 0 && def.outputs_size() != results) {
    return absl::InvalidArgumentError(
        absl::StrCat("it lists ", def.outputs_size(), " outputs but has ", results));
  }
  const Rate rate = DerivedRate(graph_, node);
  for (int i = 0; i < results; ++i) {
    const ValueDef& value_def = def.outputs_size() > 0 ? def.outputs(i) : ValueDef();
    WEFT_RETURN_IF_ERROR(CheckSize(specs[i]));
    if (!value_def.type().empty() && value_def.type() != specs[i].ToString()) {
      return absl::InvalidArgumentError(absl::StrCat("result ", i, " is ", specs[i].ToString(),
                                                     " but the text says ", value_def.type(),
                                                     "; correct the text or leave the type out"));
    }
    WEFT_ASSIGN_OR_RETURN(const Value value, AddValue(value_def, DefaultResultName(node, i),
                                                      std::move(specs[i]), rate));
    graph_.info(value).node = static_cast<int>(graph_.nodes.size());
    graph_.info(value).output = i;
    node.outputs.push_back(value);
  }
  return absl::OkStatus();
}

absl::Status Parser::ReadInputLayouts(const NodeDef& def, Node& node) {
  if (def.input_layouts_size() == 0) return absl::OkStatus();
  if (def.input_layouts_size() != def.inputs_size()) {
    return absl::InvalidArgumentError(absl::StrCat("it has ", def.inputs_size(), " operands but ",
                                                   def.input_layouts_size(), " input_layouts"));
  }
  for (int i = 0; i < def.inputs_size(); ++i) {
    Layout layout;
    if (!def.input_layouts(i).empty()) {
      if (!node.inputs[i]) return absl::InvalidArgumentError("an absent operand has a layout");
      const Mesh& mesh = graph_.mesh(node.inputs[i]);
      WEFT_ASSIGN_OR_RETURN(layout, ParseLayout(def.input_layouts(i), mesh));
      WEFT_RETURN_IF_ERROR(CheckLayout(layout, mesh, graph_.spec(node.inputs[i])));
    }
    node.input_layouts.push_back(std::move(layout));
  }
  return absl::OkStatus();
}

absl::Status Parser::AddNode(const NodeDef& def, int index) {
  WEFT_RETURN_IF_ERROR(Claim(def.name()));
  Node node;
  node.name = def.name();
  node.reason = def.reason();
  for (const std::string& name : def.inputs()) {
    Value value;
    if (!name.empty()) {
      WEFT_ASSIGN_OR_RETURN(value, Find(name));
    }
    node.inputs.push_back(value);
  }
  for (const std::string& name : def.after()) {
    WEFT_ASSIGN_OR_RETURN(const Value value, Find(name));
    node.after.push_back(value);
  }
  WEFT_ASSIGN_OR_RETURN(std::vector<TensorSpec> specs, Infer(def, node));
  WEFT_RETURN_IF_ERROR(ReadInputLayouts(def, node));
  WEFT_RETURN_IF_ERROR(AddResults(def, node, std::move(specs)));
  graph_.nodes.push_back(std::move(node));
  auto it = later_nodes_.find(def.name());
  if (it != later_nodes_.end() && it->second == index) later_nodes_.erase(it);
  return absl::OkStatus();
}

absl::Status Parser::References() {
  for (int i = 0; i < def_.variables_size(); ++i) {
    const VariableDef& def = def_.variables(i);
    if (def.update().empty()) continue;
    absl::StatusOr<Value> update = Find(def.update());
    absl::Status status = update.status();
    if (status.ok() && !(graph_.spec(*update) == graph_.spec(graph_.variables[i].value))) {
      status = absl::InvalidArgumentError(
          absl::StrCat("'", def.update(), "' is ", graph_.spec(*update).ToString(),
                       " but the variable is ", graph_.spec(graph_.variables[i].value).ToString()));
    }
    WEFT_RETURN_IF_ERROR(At(Annotate(status, "update"), "variables", i,
                            absl::StrCat("variable '", def.name(), "'")));
    graph_.variables[i].update = *update;
  }
  std::set<std::string> names;
  for (int i = 0; i < def_.outputs_size(); ++i) {
    const OutputDef& def = def_.outputs(i);
    absl::StatusOr<Value> value = Find(def.value());
    absl::Status status = value.status();
    if (status.ok() && (def.name().empty() || !names.insert(def.name()).second)) {
      status = absl::InvalidArgumentError(
          "the name is empty or taken; outputs each need a name of their own");
    }
    if (status.ok()) status = CheckText(def.name());
    WEFT_RETURN_IF_ERROR(At(status, "outputs", i, absl::StrCat("output '", def.name(), "'")));
    graph_.outputs.push_back({def.name(), *value});
  }
  return absl::OkStatus();
}

absl::StatusOr<Graph> Parser::Parse(const std::string& text) {
  WEFT_RETURN_IF_ERROR(Syntax(text));
  graph_.name = def_.name();
  if (def_.meshes_size() > 0) graph_.meshes.clear();
  for (int i = 0; i < def_.meshes_size(); ++i) {
    absl::StatusOr<Mesh> mesh = Mesh::Parse(def_.meshes(i));
    WEFT_RETURN_IF_ERROR(At(mesh.status(), "meshes", i, absl::StrCat("mesh ", i)));
    graph_.meshes.push_back(*std::move(mesh));
  }
  for (int i = 0; i < def_.nodes_size(); ++i) later_nodes_[def_.nodes(i).name()] = i;
  for (int i = 0; i < def_.inputs_size(); ++i) {
    WEFT_RETURN_IF_ERROR(At(AddInput(def_.inputs(i)), "inputs", i,
                            absl::StrCat("input '", def_.inputs(i).name(), "'")));
  }
  for (int i = 0; i < def_.variables_size(); ++i) {
    WEFT_RETURN_IF_ERROR(At(AddVariable(def_.variables(i)), "variables", i,
                            absl::StrCat("variable '", def_.variables(i).name(), "'")));
  }
  for (int i = 0; i < def_.nodes_size(); ++i) {
    WEFT_RETURN_IF_ERROR(At(AddNode(def_.nodes(i), i), "nodes", i,
                            absl::StrCat("node '", def_.nodes(i).name(), "'")));
  }
  WEFT_RETURN_IF_ERROR(References());
  WEFT_RETURN_IF_ERROR(Annotate(Verify(graph_), file_));
  return std::move(graph_);
}

}  // namespace

absl::StatusOr<Graph> ParseGraphText(std::string_view text, const OpRegistry& ops,
                                     std::string_view file, const Mesh& mesh) {
  return Parser(ops, file, mesh).Parse(std::string(text));
}

}  // namespace weft
