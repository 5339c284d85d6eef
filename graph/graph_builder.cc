#include "graph/graph_builder.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/logging.h"
#include "runtime/status.h"

namespace weft {
namespace {

// FNV-1a, so that a variable's first content depends on the seed and its name alone.
int64_t MixSeed(int64_t seed, std::string_view name) {
  uint64_t hash = 1469598103934665603ull ^ static_cast<uint64_t>(seed);
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return static_cast<int64_t>(hash >> 1);
}

const TensorSpec& ScalarSpec() {
  static const TensorSpec* const kScalar = new TensorSpec();
  return *kScalar;
}

std::string Describe(const Graph& graph, const std::vector<Value>& inputs) {
  return absl::StrJoin(inputs, ", ", [&](std::string* out, Value v) {
    if (v) {
      absl::StrAppend(out, graph.info(v).name, ": ", graph.spec(v).ToString());
    } else {
      absl::StrAppend(out, "(absent)");
    }
  });
}

}  // namespace

Initializer Normal(double stddev, double mean) {
  return {"random_normal", {{"stddev", stddev}, {"mean", mean}}};
}

Initializer Constant(double value) { return {"fill", {{"value", value}}}; }

GraphBuilder::GraphBuilder(const OpRegistry& ops, Mesh mesh, int64_t seed)
    : ops_(ops), seed_(seed) {
  graph_.meshes = {std::move(mesh)};
}

GraphBuilder::GraphBuilder(Graph graph, const OpRegistry& ops, int64_t seed)
    : ops_(ops), seed_(seed), graph_(std::move(graph)) {
  for (const ValueInfo& value : graph_.values) names_.insert(value.name);
  for (const Node& node : graph_.nodes) names_.insert(node.name);
  for (Variable& variable : graph_.variables) {
    if (variable.init_attrs.Has("seed") && variable.init_attrs.Int("seed") == 0) {
      variable.init_attrs.Set("seed", MixSeed(seed_, variable.name));
    }
  }
}

std::string GraphBuilder::Qualified(std::string_view name) const {
  return absl::StrCat(prefix_, std::string(name));
}

std::string GraphBuilder::Unique(std::string name) {
  while (!names_.insert(name).second) {
    name = absl::StrCat(name, "_", ++next_number_[name]);
  }
  return name;
}

Value GraphBuilder::NewValue(std::string name, TensorSpec spec, Rate rate) {
  ValueInfo info;
  info.name = std::move(name);
  info.spec = std::move(spec);
  info.rate = rate;
  info.mesh = mesh_;
  graph_.values.push_back(std::move(info));
  return Value{static_cast<int>(graph_.values.size()) - 1};
}

void GraphBuilder::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

const TensorSpec& GraphBuilder::spec(Value value) const {
  return value ? graph_.spec(value) : ScalarSpec();
}

int GraphBuilder::AddMesh(Mesh mesh) {
  graph_.meshes.push_back(std::move(mesh));
  return static_cast<int>(graph_.meshes.size()) - 1;
}

Value GraphBuilder::Input(std::string name, TensorSpec spec, Rate rate) {
  name = Qualified(name);
  if (!names_.insert(name).second) {
    Fail(absl::InvalidArgumentError(absl::StrCat("two values are named '", name, "'")));
  }
  Value value = NewValue(name, std::move(spec), rate);
  graph_.inputs.push_back({std::move(name), value});
  return value;
}

Value GraphBuilder::NewVariable(std::string name, TensorSpec spec, Initializer init,
                                bool trainable) {
  name = Qualified(name);
  if (!names_.insert(name).second) {
    Fail(absl::InvalidArgumentError(absl::StrCat("two values are named '", name, "'")));
  }
  Variable variable;
  variable.name = name;
  variable.init_op = init.op;
  variable.init_attrs = std::move(init.attrs);
  variable.trainable = trainable;
  const OpDef* op = ops_.Find(init.op);
  if (op == nullptr) {
    Fail(absl::InvalidArgumentError(
        absl::StrCat("variable '", name, "': no op is named '", init.op, "'")));
  } else {
    const std::vector<int64_t> shape(spec.shape.begin(), spec.shape.end());
    if (op->attrs.count("shape")) variable.init_attrs.Set("shape", shape);
    if (op->attrs.count("seed")) variable.init_attrs.Set("seed", MixSeed(seed_, name));
    if (op->attrs.count("dtype")) {
      variable.init_attrs.Set("dtype", std::string(Name(spec.dtype)));
    }
    absl::Status complete = CompleteAttrs(*op, variable.init_attrs);
    if (!complete.ok()) Fail(weft::Annotate(complete, absl::StrCat("variable '", name, "'")));
  }
  variable.value = NewValue(std::move(name), std::move(spec), Rate::kStep);
  graph_.variables.push_back(std::move(variable));
  return graph_.variables.back().value;
}

Value GraphBuilder::Parameter(std::string name, TensorSpec spec, Initializer init) {
  return NewVariable(std::move(name), std::move(spec), std::move(init), true);
}

Value GraphBuilder::State(std::string name, TensorSpec spec, Initializer init) {
  return NewVariable(std::move(name), std::move(spec), std::move(init), false);
}

absl::StatusOr<std::vector<Value>> GraphBuilder::TryEmit(std::string_view op_name,
                                                         std::vector<Value> inputs, Attrs attrs,
                                                         std::string name) {
  const OpDef* op = ops_.Find(op_name);
  if (op == nullptr) {
    return absl::InvalidArgumentError("no such op is registered");
  }
  Node node;
  node.op = op;
  node.attrs = std::move(attrs);
  node.inputs = std::move(inputs);
  WEFT_RETURN_IF_ERROR(CheckOperandCount(*op, node.inputs));
  WEFT_RETURN_IF_ERROR(CompleteAttrs(*op, node.attrs));
  const std::vector<TensorSpec> specs = InputSpecs(graph_, node);
  WEFT_ASSIGN_OR_RETURN(std::vector<TensorSpec> results,
                        op->infer(InferContext{specs, node.attrs}));
  Rate rate = Rate::kStep;
  for (Value v : node.inputs) {
    if (v && graph_.info(v).rate == Rate::kMicrobatch) rate = Rate::kMicrobatch;
  }
  if (op->sums_microbatches) rate = Rate::kStep;
  node.name = std::move(name);
  const int index = static_cast<int>(graph_.nodes.size());
  for (size_t i = 0; i < results.size(); ++i) {
    const std::string value_name =
        results.size() == 1 ? node.name : absl::StrCat(node.name, ":", op->outputs[i]);
    Value value = NewValue(value_name, std::move(results[i]), rate);
    graph_.info(value).node = index;
    graph_.info(value).output = static_cast<int>(i);
    node.outputs.push_back(value);
  }
  graph_.nodes.push_back(std::move(node));
  return graph_.nodes.back().outputs;
}

std::vector<Value> GraphBuilder::Emit(std::string_view op, std::vector<Value> inputs, Attrs attrs,
                                      std::string name) {
  const OpDef* def = ops_.Find(op);
  const size_t results = def == nullptr ? 1 : def->outputs.size();
  if (!status_.ok()) return std::vector<Value>(results);
  name = Unique(Qualified(name.empty() ? op : std::string_view(name)));
  const std::string operands = Describe(graph_, inputs);
  absl::StatusOr<std::vector<Value>> values =
      TryEmit(op, std::move(inputs), std::move(attrs), name);
  if (!values.ok()) {
    Fail(weft::Annotate(values.status(), absl::StrCat("op '", name, "' (", std::string(op), " of ",
                                                      operands, ")")));
    return std::vector<Value>(results);
  }
  return *std::move(values);
}

void GraphBuilder::Annotate(Value value, std::string_view layout) {
  if (!status_.ok() || !value) return;
  ValueInfo& info = graph_.info(value);
  absl::StatusOr<Layout> parsed = ParseLayout(layout, graph_.meshes[info.mesh]);
  absl::Status status = parsed.status();
  if (status.ok()) status = CheckLayout(*parsed, graph_.meshes[info.mesh], info.spec);
  if (status.ok() && info.annotation && *info.annotation != *parsed) {
    status = absl::InvalidArgumentError(
        absl::StrCat("annotated ", ToString(*info.annotation, graph_.meshes[info.mesh]), " before"));
  }
  if (!status.ok()) {
    return Fail(weft::Annotate(status, absl::StrCat("annotating '", info.name, "' with ",
                                                    std::string(layout))));
  }
  info.annotation = *std::move(parsed);
}

void GraphBuilder::Update(Value variable, Value content) {
  if (!status_.ok()) return;
  for (Variable& v : graph_.variables) {
    if (v.value == variable) {
      if (v.update) {
        return Fail(absl::InvalidArgumentError(
            absl::StrCat("variable '", v.name, "' is updated twice in a step")));
      }
      v.update = content;
      return;
    }
  }
  Fail(absl::InvalidArgumentError("Update of a value that is not a variable"));
}

void GraphBuilder::Output(std::string name, Value value) {
  if (status_.ok()) graph_.outputs.push_back({std::move(name), value});
}

absl::StatusOr<Graph> GraphBuilder::Build() {
  WEFT_RETURN_IF_ERROR(status_);
  WEFT_RETURN_IF_ERROR(Verify(graph_));
  return std::move(graph_);
}

GraphBuilder::Scope::Scope(GraphBuilder& builder, std::string_view name)
    : builder_(builder), length_(builder.prefix_.size()) {
  if (!name.empty()) absl::StrAppend(&builder.prefix_, std::string(name), ".");
}

GraphBuilder::Scope::~Scope() { builder_.prefix_.resize(length_); }

}  // namespace weft
