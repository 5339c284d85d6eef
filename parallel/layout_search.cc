#include "parallel/layout_search.h"

#include <algorithm>
#include <limits>

#include "runtime/status.h"

namespace weft {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kMostSweeps = 12;

}  // namespace

LayoutSearch::LayoutSearch(const Graph& graph, const PassContext& context)
    : graph_(graph), context_(context), table_(graph.meshes, context.cost) {}

absl::Status LayoutSearch::Run() {
  WEFT_RETURN_IF_ERROR(CheckUpdates());
  SetUpValues();
  WEFT_RETURN_IF_ERROR(SetUpNodes());
  AddDemands();
  Greedy();
  Sweep();
  SettleVariables();
  Sweep();
  return absl::OkStatus();
}

void LayoutSearch::Greedy() {
  for (size_t n = 0; n < nodes_.size(); ++n) Choose(static_cast<int>(n), /*first=*/true);
}

void LayoutSearch::Sweep() {
  const int n = static_cast<int>(nodes_.size());
  for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
    bool changed = false;
    for (int i = 0; i < n; ++i) {
      const int node = sweep % 2 == 0 ? n - 1 - i : i;
      if (!nodes_[node].dirty) continue;
      nodes_[node].dirty = false;
      if (Choose(node, /*first=*/false)) {
        changed = true;
        MarkNeighbours(node);
      }
      changed = PullOperands(node) || changed;
    }
    if (!changed) return;
  }
}

bool LayoutSearch::Choose(int n, bool first) {
  const Node& node = graph_.nodes[n];
  NodeState& state = nodes_[n];
  const LayoutChoice* const old = state.choice;
  SignatureIndices best(state.choices->num_axes(), 0);
  if (old != nullptr) {
    Withdraw(n);
    best = old->signatures;
  }
  double least = Price(n, state.choices->Get(best, table_, context_.cost), first);
  for (bool improved = true; improved;) {
    improved = false;
    for (int axis = 0; axis < state.choices->num_axes(); ++axis) {
      SignatureIndices trial = best;
      for (int s = 0; s < state.choices->Count(axis); ++s) {
        trial[axis] = s;
        if (s == best[axis] || !Follows(node, state, trial)) continue;
        const LayoutChoice& choice = state.choices->Get(trial, table_, context_.cost);
        if (!choice.legal) continue;
        const double price = Price(n, choice, first);
        if (price < least * kImprovement || (least == kInfinity && price < kInfinity)) {
          least = price;
          best = trial;
          improved = true;
        }
      }
    }
  }
  const LayoutChoice& chosen = state.choices->Get(best, table_, context_.cost);
  Apply(n, chosen);
  return &chosen != old;
}

double LayoutSearch::Price(int n, const LayoutChoice& choice, bool first) {
  const Node& node = graph_.nodes[n];
  const double inputs = InputsPrice(node, choice);
  if (inputs == kInfinity) return inputs;
  return nodes_[n].weight * choice.seconds + inputs + OutputsPrice(node, choice, first);
}

double LayoutSearch::InputsPrice(const Node& node, const LayoutChoice& choice) {
  double price = 0;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Value v = node.inputs[i];
    if (!v || values_[v.id].free) continue;
    if (std::find(node.inputs.begin(), node.inputs.begin() + static_cast<int64_t>(i), v) !=
        node.inputs.begin() + static_cast<int64_t>(i)) {
      continue;  // counted at its first place
    }
    const ValueState& value = values_[v.id];
    std::vector<LayoutId> more;
    for (size_t k = i; k < node.inputs.size(); ++k) {
      if (node.inputs[k] == v) more.push_back(choice.inputs[k]);
    }
    if (more.size() == 1 && more[0] == value.home && value.wants.empty()) continue;
    price += ValuePrice(value, value.made, value.home, more);
    if (price == kInfinity) return price;
  }
  return price;
}

double LayoutSearch::OutputsPrice(const Node& node, const LayoutChoice& choice, bool first) {
  double price = 0;
  for (size_t k = 0; k < node.outputs.size(); ++k) {
    const ValueState& value = values_[node.outputs[k].id];
    const LayoutId made = choice.outputs[k];
    const LayoutId home = value.annotated ? value.home : made;
    price += ValuePrice(value, made, home, {});
    // Someone will want it whole.
    if (first && value.wants.empty() && !value.annotated && !value.consumers.empty()) {
      price += value.weight * table_.Seconds(home, table_.Reduced(home));
    }
  }
  return price;
}

double LayoutSearch::ValuePrice(const ValueState& value, LayoutId made, LayoutId home,
                                const std::vector<LayoutId>& more) {
  scratch_.clear();
  for (const auto& [layout, times] : value.wants) scratch_.push_back(layout);
  for (LayoutId layout : more) {
    if (std::find(scratch_.begin(), scratch_.end(), layout) == scratch_.end()) {
      scratch_.push_back(layout);
    }
  }
  if (value.strict) {
    for (LayoutId want : scratch_) {
      if (!table_.IsPlain(home, want)) return kInfinity;
    }
  }
  return value.weight * (table_.Seconds(made, home) + table_.HopSeconds(home, scratch_));
}

bool LayoutSearch::Follows(const Node& node, const NodeState& state,
                           const SignatureIndices& indices) const {
  for (size_t axis = 0; axis < indices.size(); ++axis) {
    if (indices[axis] == 0) continue;
    if (!FollowsOn(node, state.choices->signatures()[indices[axis]], static_cast<int>(axis))) {
      return false;
    }
  }
  return true;
}

bool LayoutSearch::FollowsOn(const Node& node, const Signature& signature, int axis) const {
  bool operands = false;
  const int mesh = graph_.info(node.outputs[0]).mesh;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (!node.inputs[i]) continue;
    operands = true;
    const ValueState& value = values_[node.inputs[i].id];
    if (signature.inputs[i].is_broadcast() || table_.mesh(value.home) != mesh) continue;
    if (value.free || table_.layout(value.home)[axis] == signature.inputs[i]) return true;
  }
  for (size_t k = 0; k < node.outputs.size(); ++k) {
    const ValueState& value = values_[node.outputs[k].id];
    if (value.annotated && !signature.outputs[k].is_broadcast() &&
        table_.layout(value.home)[axis] == signature.outputs[k]) {
      return true;
    }
  }
  return !operands;
}

void LayoutSearch::Want(int value, LayoutId layout, int times) {
  auto& wants = values_[value].wants;
  for (auto it = wants.begin(); it != wants.end(); ++it) {
    if (it->first != layout) continue;
    it->second += times;
    if (it->second == 0) wants.erase(it);
    return;
  }
  wants.emplace_back(layout, times);
}

void LayoutSearch::Apply(int n, const LayoutChoice& choice) {
  const Node& node = graph_.nodes[n];
  nodes_[n].choice = &choice;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i]) Want(node.inputs[i].id, choice.inputs[i], 1);
  }
  for (size_t k = 0; k < node.outputs.size(); ++k) {
    ValueState& value = values_[node.outputs[k].id];
    value.made = choice.outputs[k];
    if (!value.annotated) value.home = value.made;
  }
}

void LayoutSearch::Withdraw(int n) {
  const Node& node = graph_.nodes[n];
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i]) Want(node.inputs[i].id, nodes_[n].choice->inputs[i], -1);
  }
}

void LayoutSearch::MarkNeighbours(int n) {
  const Node& node = graph_.nodes[n];
  for (Value v : node.inputs) {
    if (!v) continue;
    const int producer = graph_.info(v).node;
    if (producer >= 0) nodes_[producer].dirty = true;
    if (values_[v.id].consumers.size() > kManyReaders) continue;
    for (int consumer : values_[v.id].consumers) nodes_[consumer].dirty = true;
  }
  for (Value v : node.outputs) {
    for (int consumer : values_[v.id].consumers) nodes_[consumer].dirty = true;
  }
  nodes_[n].dirty = false;
}

std::vector<Layout> LayoutSearch::InputLayouts(int node) const {
  std::vector<Layout> layouts;
  for (LayoutId id : nodes_[node].choice->inputs) {
    layouts.push_back(id == kNoLayout ? Layout() : table_.layout(id));
  }
  return layouts;
}

}  // namespace weft
