#include <algorithm>

#include "absl/strings/str_cat.h"
#include "parallel/layout_search.h"
#include "parallel/reshard_step.h"
#include "runtime/status.h"

// Before and between the sweeps: what is given, and where inputs and variables end up.

namespace weft {
namespace {

// Between equals the later conversion wins, after the microbatches are summed.
constexpr double kMicrobatchBias = 1 + 1e-6;

bool WantsZigzag(const Graph& graph) {
  for (const ValueInfo& info : graph.values) {
    if (!info.annotation) continue;
    for (const Sbp& sbp : *info.annotation) {
      if (sbp.is_split() && sbp.order() == IndexOrder::kZigzag) return true;
    }
  }
  return false;
}

}  // namespace

absl::Status LayoutSearch::CheckUpdates() const {
  for (const Variable& variable : graph_.variables) {
    if (!variable.update) continue;
    const ValueInfo& content = graph_.info(variable.value);
    const ValueInfo& update = graph_.info(variable.update);
    if (!content.annotation || !update.annotation || content.mesh != update.mesh ||
        variable.value == variable.update) {
      continue;
    }
    const Mesh& mesh = graph_.meshes[content.mesh];
    if (!SameHolding(*content.annotation, *update.annotation, mesh)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "annotations contradict: variable '", content.name, "' is ",
          ToString(*content.annotation, mesh), " but '", update.name, "', which replaces it, is ",
          ToString(*update.annotation, mesh), "; annotate one of them, or both alike"));
    }
  }
  return absl::OkStatus();
}

void LayoutSearch::SetUpValues() {
  values_.resize(graph_.values.size());
  for (size_t v = 0; v < values_.size(); ++v) {
    const ValueInfo& info = graph_.values[v];
    ValueState& value = values_[v];
    value.weight = info.rate == Rate::kMicrobatch ? context_.microbatches * kMicrobatchBias : 1;
    value.strict = info.rate == Rate::kMicrobatch;
    value.annotated = info.annotation.has_value();
    if (value.annotated) value.home = table_.Intern(info.spec, info.mesh, *info.annotation);
    if (info.node >= 0) continue;
    value.free = !value.annotated;
    if (value.free) {
      value.home = table_.Intern(info.spec, info.mesh, BroadcastLayout(graph_.meshes[info.mesh]));
    }
    value.made = value.home;
  }
}

absl::Status LayoutSearch::SetUpNodes() {
  const bool zigzag = WantsZigzag(graph_);
  nodes_.resize(graph_.nodes.size());
  for (size_t n = 0; n < nodes_.size(); ++n) {
    const Node& node = graph_.nodes[n];
    if (node.is_reshard()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "node '", node.name, "' is a conversion; layouts are inferred before these"));
    }
    NodeState& state = nodes_[n];
    const int mesh = graph_.info(node.outputs[0]).mesh;
    double weight = 1;
    for (Value v : node.outputs) {
      if (graph_.info(v).mesh != mesh) {
        return absl::InvalidArgumentError(
            absl::StrCat("results '", graph_.info(node.outputs[0]).name, "' and '",
                         graph_.info(v).name, "' of node '", node.name, "' lie on two meshes"));
      }
      weight = std::max(weight, values_[v.id].weight);
    }
    for (Value v : node.inputs) {
      if (!v) continue;
      std::vector<int>& consumers = values_[v.id].consumers;
      if (consumers.empty() || consumers.back() != static_cast<int>(n)) {
        consumers.push_back(static_cast<int>(n));
      }
      if (node.op->sums_microbatches) weight = std::max(weight, values_[v.id].weight);
    }
    state.weight = weight;
    state.choices = cache_.Of(graph_, node, mesh, zigzag);
  }
  return absl::OkStatus();
}

void LayoutSearch::AddDemands() {
  for (const GraphOutput& output : graph_.outputs) {
    const ValueInfo& info = graph_.info(output.value);
    if (info.annotation) continue;
    Want(output.value.id,
         table_.Intern(info.spec, info.mesh, BroadcastLayout(graph_.meshes[info.mesh])), 1);
  }
  for (const Variable& variable : graph_.variables) {
    if (!variable.update || values_[variable.value.id].free) continue;
    Want(variable.update.id, values_[variable.value.id].home, 1);
  }
}

// Per axis what all wants agree on, else B; never partial.
LayoutId LayoutSearch::Meet(int value) {
  const ValueState& state = values_[value];
  const bool any_strict = std::any_of(state.consumers.begin(), state.consumers.end(), [&](int n) {
    return values_[graph_.nodes[n].outputs[0].id].strict;
  });
  Layout meet;
  bool first = true;
  for (int n : state.consumers) {
    const Node& node = graph_.nodes[n];
    // Optimizers and the like follow the layout that the computation wants.
    if (any_strict && !values_[node.outputs[0].id].strict) continue;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i].id != value) continue;
      const LayoutId want = nodes_[n].choice->inputs[i];
      if (table_.mesh(want) != table_.mesh(state.home)) continue;
      const Layout& layout = table_.layout(want);
      if (first) meet = layout;
      first = false;
      for (size_t a = 0; a < meet.size(); ++a) {
        if (meet[a] != layout[a] || meet[a].is_partial()) meet[a] = Sbp::B();
      }
    }
  }
  if (first) return state.home;
  return table_.Intern(graph_.values[value].spec, graph_.values[value].mesh, meet);
}

void LayoutSearch::SettleFree(int value) {
  ValueState& state = values_[value];
  if (!state.free) return;
  state.home = state.made = Meet(value);
  state.free = false;
}

// Inputs and trained variables lie as the computation wants them; any other variable as a variable
// of its spec that its update reads.
void LayoutSearch::SettleVariables() {
  for (const GraphInput& input : graph_.inputs) SettleFree(input.value.id);
  std::vector<int> variable_of(values_.size(), -1);
  for (size_t i = 0; i < graph_.variables.size(); ++i) {
    const Variable& variable = graph_.variables[i];
    variable_of[variable.value.id] = static_cast<int>(i);
    if (variable.trainable || !variable.update) SettleFree(variable.value.id);
  }
  for (const Variable& variable : graph_.variables) {
    ValueState& state = values_[variable.value.id];
    const int producer = variable.update ? graph_.info(variable.update).node : -1;
    if (state.free && producer >= 0) {
      for (Value v : graph_.nodes[producer].inputs) {
        if (!v || variable_of[v.id] < 0 || !graph_.variables[variable_of[v.id]].trainable ||
            !(graph_.spec(v) == graph_.spec(variable.value)) ||
            graph_.info(v).mesh != graph_.info(variable.value).mesh) {
          continue;
        }
        state.home = state.made = values_[v.id].home;
        state.free = false;
        break;
      }
    }
    SettleFree(variable.value.id);
  }
  // Demands of the layouts that are known only now.
  for (const Variable& variable : graph_.variables) {
    if (!variable.update || values_[variable.value.id].annotated) continue;
    Want(variable.update.id, values_[variable.value.id].home, 1);
  }
  for (NodeState& state : nodes_) state.dirty = true;
}

}  // namespace weft
