#include "parallel/merge_gradients.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "graph/layout.h"
#include "graph/signature.h"
#include "parallel/reshard_step.h"

namespace weft {
namespace {

class GradientMerger {
 public:
  GradientMerger(Graph& graph, const OpRegistry& ops) : graph_(graph) {
    for (const OpDef* op : ops.All()) {
      if (!op->merges.gradient.empty()) merged_.emplace(op->merges.gradient, op);
    }
    for (const Variable& variable : graph.variables) {
      if (variable.update) updates_.insert(variable.update.id);
    }
  }

  void Run() {
    size_t n = 0;
    while (n < graph_.nodes.size()) {
      const Node& node = graph_.nodes[n];
      const auto it = node.is_reshard() ? merged_.end() : merged_.find(node.op->name);
      // Where two became one, the next node has come to this place.
      if (it == merged_.end() || !Merge(static_cast<int>(n), *it->second)) ++n;
    }
  }

 private:
  // What a node takes or makes, by the name that its op has for it.
  struct Named {
    Value value;
    Layout layout;
  };
  using Names = std::map<std::string, Named>;

  static bool IsComplete(const Node& node) {
    return node.inputs.size() == node.op->inputs.size() &&
           std::all_of(node.inputs.begin(), node.inputs.end(), [](Value v) { return bool(v); });
  }
  Names InputsOf(const Node& node) const {
    Names names;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      names[node.op->inputs[i]] = {node.inputs[i], node.input_layouts[i]};
    }
    return names;
  }
  void AddOutputs(const Node& node, Names& names) const {
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      names[node.op->outputs[i]] = {node.outputs[i], graph_.info(node.outputs[i]).layout};
    }
  }
  bool Same(const Named& a, const Named& b) const {
    return a.value == b.value && SameHolding(a.layout, b.layout, graph_.mesh(a.value));
  }

  // The node of the forward op of which the gradient node reads a result, or -1.
  int ForwardOf(const Node& gradient, const OpDef& merged) const {
    for (Value v : gradient.inputs) {
      const int n = graph_.info(v).node;
      if (n < 0 || graph_.nodes[n].is_reshard()) continue;
      if (graph_.nodes[n].op->name == merged.merges.forward) return n;
    }
    return -1;
  }

  // The node that stands for both, or nothing if they do not read the same.
  std::optional<Node> Together(const Node& forward, const Node& gradient,
                               const OpDef& merged) const {
    const ValueInfo &made = graph_.info(forward.outputs[0]),
                    &then = graph_.info(gradient.outputs[0]);
    if (made.mesh != then.mesh || made.rate != then.rate) return std::nullopt;
    if (!IsComplete(forward) || forward.attrs != gradient.attrs) return std::nullopt;
    const Names inputs = InputsOf(gradient);
    for (const auto& [name, operand] : InputsOf(forward)) {
      const auto it = inputs.find(name);
      if (it == inputs.end() || !Same(it->second, operand)) return std::nullopt;
    }
    Names outputs;
    AddOutputs(forward, outputs);
    for (const auto& [name, operand] : inputs) {
      const auto& taken = merged.inputs;
      if (std::find(taken.begin(), taken.end(), name) != taken.end()) continue;
      const auto it = outputs.find(name);
      if (it == outputs.end() || !Same(it->second, operand)) return std::nullopt;
    }
    AddOutputs(gradient, outputs);
    Node both{.name = forward.name, .op = &merged, .attrs = forward.attrs};
    for (const std::string& name : merged.inputs) {
      both.inputs.push_back(inputs.at(name).value);
      both.input_layouts.push_back(inputs.at(name).layout);
    }
    for (const std::string& name : merged.outputs) both.outputs.push_back(outputs.at(name).value);
    return both;
  }

  // Whether the merged op's signatures allow the node's layouts, axis by axis.
  bool IsLegal(const Node& node) const {
    const std::vector<Signature> all =
        DeriveSignatures(*node.op, InputSpecs(graph_, node), OutputSpecs(graph_, node), node.attrs);
    const std::vector<Mesh::Axis>& axes = graph_.mesh(node.outputs[0]).axes();
    std::vector<Signature> chosen;
    std::vector<int> sizes;
    for (size_t a = 0; a < axes.size(); ++a) {
      const auto lies = [&](const Signature& s) {
        for (size_t i = 0; i < node.inputs.size(); ++i) {
          if (s.inputs[i] != node.input_layouts[i][a]) return false;
        }
        for (size_t i = 0; i < node.outputs.size(); ++i) {
          if (s.outputs[i] != graph_.info(node.outputs[i]).layout[a]) return false;
        }
        return true;
      };
      if (axes[a].size == 1) continue;  // all layouts are the same
      const auto it = std::find_if(all.begin(), all.end(), lies);
      if (it == all.end()) return false;
      chosen.push_back(*it);
      sizes.push_back(axes[a].size);
    }
    return CheckSignatures(chosen, sizes).ok();
  }

  // By node: whether the operands that the merged op takes and the forward op does not need it.
  std::vector<bool> NeededFor(const Node& forward, const Node& both) const {
    std::vector<bool> needed(graph_.nodes.size(), false);
    const auto need = [&](Value v) {
      if (v && graph_.info(v).node >= 0) needed[graph_.info(v).node] = true;
    };
    const auto& common = forward.inputs;
    for (Value v : both.inputs) {
      if (std::find(common.begin(), common.end(), v) == common.end()) need(v);
    }
    for (int n = static_cast<int>(needed.size()) - 1; n >= 0; --n) {
      if (!needed[n]) continue;
      for (Value v : graph_.nodes[n].inputs) need(v);
    }
    return needed;
  }

  // An update of a variable comes after all that reads the variable, which may need the forward op.
  bool MakesUpdate(const Node& node) const {
    return std::any_of(node.outputs.begin(), node.outputs.end(),
                       [this](Value v) { return updates_.contains(v.id); });
  }

  bool Merge(int gradient, const OpDef& merged) {
    if (!IsComplete(graph_.nodes[gradient])) return false;
    const int forward = ForwardOf(graph_.nodes[gradient], merged);
    if (forward < 0) return false;
    std::optional<Node> both = Together(graph_.nodes[forward], graph_.nodes[gradient], merged);
    if (!both || !IsLegal(*both) || MakesUpdate(graph_.nodes[gradient])) return false;
    const std::vector<bool> needed = NeededFor(graph_.nodes[forward], *both);
    if (needed[forward]) return false;
    for (size_t n = 0; n < needed.size(); ++n) {
      if (needed[n] && MakesUpdate(graph_.nodes[n])) return false;
    }
    Replace(forward, gradient, needed, *std::move(both));
    return true;
  }

  // The merged node takes the forward node's place; what it needs comes before it.
  void Replace(int forward, int gradient, const std::vector<bool>& needed, Node both) {
    std::vector<Node> before, after;
    for (int n = forward + 1; n < gradient; ++n) {
      (needed[n] ? before : after).push_back(std::move(graph_.nodes[n]));
    }
    before.push_back(std::move(both));
    auto at = std::move(before.begin(), before.end(), graph_.nodes.begin() + forward);
    at = std::move(after.begin(), after.end(), at);
    graph_.nodes.erase(at);
    for (size_t n = forward; n < graph_.nodes.size(); ++n) {
      const std::vector<Value>& outputs = graph_.nodes[n].outputs;
      for (size_t i = 0; i < outputs.size(); ++i) {
        graph_.info(outputs[i]).node = static_cast<int>(n);
        graph_.info(outputs[i]).output = static_cast<int>(i);
      }
    }
  }

  Graph& graph_;
  std::map<std::string, const OpDef*, std::less<>> merged_;  // by the name of the gradient op
  std::set<int> updates_;                                    // values that variables get
};

}  // namespace

absl::Status MergeGradients(Graph& graph, const PassContext& context) {
  GradientMerger(graph, context.ops).Run();
  return absl::OkStatus();
}

}  // namespace weft
