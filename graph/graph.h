// Graph: an SSA dataflow program over logical tensors. Nodes are stored in an order in which every
// operand is defined before its use. One mutable IR serves all passes; Verify says what is legal.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "graph/layout.h"
#include "graph/mesh.h"
#include "graph/op_def.h"
#include "graph/value.h"
#include "runtime/attrs.h"
#include "runtime/tensor_spec.h"

namespace weft {

// How often a value is made: once per microbatch, or once per step.
enum class Rate : uint8_t { kMicrobatch, kStep };

struct ValueInfo {
  std::string name;  // unique
  TensorSpec spec;   // logical
  int node = -1;     // producer; -1 for inputs and variables
  int output = 0;    // which result of the producer
  int mesh = 0;      // index into Graph::meshes
  Rate rate = Rate::kStep;
  std::optional<Layout> annotation;  // the user's word; a fact for layout inference
  Layout layout;                     // decided by layout inference; empty before
};

// An op, or (op == nullptr) a conversion of its one operand's layout to its result's.
struct Node {
  std::string name;  // unique
  const OpDef* op = nullptr;
  Attrs attrs;  // complete: defaults filled in
  std::vector<Value> inputs;  // Value() for an absent optional operand
  std::vector<Value> outputs;
  // Values without elements (op token) that are to be made before the node starts.
  std::vector<Value> after;
  // Layouts in which the op takes its operands, decided by layout inference; empty before.
  std::vector<Layout> input_layouts;
  std::string reason;  // of a conversion: the node that asked for it
  bool is_reshard() const { return op == nullptr; }
};

struct GraphInput {
  std::string name;
  Value value;
};

struct GraphOutput {
  std::string name;
  Value value;
};

// A named buffer that outlives a step. `value` is its content when a step begins, `update` (if any)
// the value that replaces it when the step ends. `init_op` has no operands and makes the first content.
struct Variable {
  std::string name;
  Value value;
  Value update;
  std::string init_op;
  Attrs init_attrs;
  bool trainable = false;
};

struct Graph {
  std::string name;
  // The first is the one whose ranks get the outputs; pipeline stages are further ones.
  std::vector<Mesh> meshes = {Mesh()};
  std::vector<ValueInfo> values;
  std::vector<Node> nodes;
  std::vector<GraphInput> inputs;
  std::vector<GraphOutput> outputs;
  std::vector<Variable> variables;

  const ValueInfo& info(Value v) const { return values[v.id]; }
  ValueInfo& info(Value v) { return values[v.id]; }
  const TensorSpec& spec(Value v) const { return values[v.id].spec; }
  const Mesh& mesh(Value v) const { return meshes[values[v.id].mesh]; }
};

// Checks that `graph` is legal IR: operands defined before use, names unique, specs as the ops infer
// them, attributes complete and typed, annotations and layouts legal, updates of the variable's spec.
// The first violation, naming the node.
absl::Status Verify(const Graph& graph);

// Ranks that a run of the graph needs: those up to the highest of any mesh.
int WorldSize(const Graph& graph);

// Fills missing attributes with defaults and checks names and types.
absl::Status CompleteAttrs(const OpDef& op, Attrs& attrs);
// Checks the operand count and presence against the definition.
absl::Status CheckOperandCount(const OpDef& op, const std::vector<Value>& inputs);
// Specs of a node's operands (default spec for absent ones) and of its results.
std::vector<TensorSpec> InputSpecs(const Graph& graph, const Node& node);
std::vector<TensorSpec> OutputSpecs(const Graph& graph, const Node& node);

}  // namespace weft
