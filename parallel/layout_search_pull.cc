#include <set>

#include "parallel/layout_search.h"

// Moves of several nodes at once. Example: the gradients of three projections of one input are
// summed; each alone would rather be whole than be reduced, but as partial sums they need one
// reduction together.

namespace weft {
namespace {

constexpr int kDepth = 4;  // nodes in a chain that move together
// A node with more operands than this (the sum of all gradients' squares) does not move with each.
constexpr size_t kManyOperands = 16;

}  // namespace

bool LayoutSearch::Converts(int n) {
  const Node& node = graph_.nodes[n];
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (!node.inputs[i]) continue;
    const ValueState& value = values_[node.inputs[i].id];
    if (!value.free && value.home != nodes_[n].choice->inputs[i]) return true;
  }
  return false;
}

bool LayoutSearch::PullOperands(int n) {
  if (!Converts(n)) return false;
  bool improved = false;
  for (int axis = 0; axis < nodes_[n].choices->num_axes(); ++axis) {
    for (int s = 0; s < nodes_[n].choices->Count(axis); ++s) {
      improved = TryPull(n, axis, s) || improved;
    }
  }
  return improved;
}

bool LayoutSearch::TryPull(int n, int axis, int s) {
  NodeState& state = nodes_[n];
  SignatureIndices trial = state.choice->signatures;
  trial[axis] = s;
  const LayoutChoice& choice = state.choices->Get(trial, table_, context_.cost);
  if (!choice.legal) return false;
  Trail trail;
  PullInputs(n, axis, state.choices->signatures()[s], kDepth, trail);
  if (trail.empty() || !Follows(graph_.nodes[n], state, trial)) {
    Undo(0, trail);
    return false;
  }
  Change(n, choice, trail);
  ChooseReaders(trail);
  const double after = Total(trail);
  Trail redo;
  for (const auto& [node, old] : trail) redo.emplace_back(node, nodes_[node].choice);
  Trail undone = trail;
  Undo(0, undone);
  if (!(after < Total(trail) * kImprovement)) return false;
  for (const auto& [node, chosen] : redo) {
    Withdraw(node);
    Apply(node, *chosen);
  }
  for (const auto& [node, chosen] : redo) MarkNeighbours(node);
  return true;
}

// Pulls every operand that an op makes otherwise, as far as that goes.
void LayoutSearch::PullInputs(int n, int axis, const Signature& signature, int depth,
                              Trail& trail) {
  const Node& node = graph_.nodes[n];
  const int mesh = graph_.info(node.outputs[0]).mesh;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (!node.inputs[i]) continue;
    const ValueState& value = values_[node.inputs[i].id];
    const ValueInfo& info = graph_.info(node.inputs[i]);
    if (info.node < 0 || value.annotated || info.mesh != mesh) continue;
    if (table_.layout(value.home)[axis] == signature.inputs[i]) continue;
    Pull(info.node, axis, info.output, signature.inputs[i], depth - 1, trail);
  }
}

bool LayoutSearch::Pull(int n, int axis, int output, Sbp wanted, int depth, Trail& trail) {
  NodeState& state = nodes_[n];
  const Node& node = graph_.nodes[n];
  if (depth == 0 || values_[node.outputs[output].id].annotated) return false;
  for (const auto& [moved, old] : trail) {
    if (moved == n) return false;
  }
  SignatureIndices trial = state.choice->signatures;
  for (const bool deep : {false, true}) {
    for (int s = 0; s < state.choices->Count(axis); ++s) {
      const Signature& signature = state.choices->signatures()[s];
      if (!(signature.outputs[output] == wanted)) continue;
      trial[axis] = s;
      const LayoutChoice& choice = state.choices->Get(trial, table_, context_.cost);
      if (!choice.legal) continue;
      const size_t length = trail.size();
      if (deep) PullInputs(n, axis, signature, depth, trail);
      if (Follows(node, state, trial)) {
        Change(n, choice, trail);
        return true;
      }
      Undo(length, trail);
    }
  }
  return false;
}

// Lets those choose anew who read what the moved nodes read or make: a value that is partial for
// one reader still has to be reduced if another wants it whole.
void LayoutSearch::ChooseReaders(Trail& trail) {
  std::set<int> readers, moved;
  for (const auto& [n, old] : trail) {
    moved.insert(n);
    const Node& node = graph_.nodes[n];
    for (const auto& values :
         {absl::MakeConstSpan(node.inputs), absl::MakeConstSpan(node.outputs)}) {
      for (Value v : values) {
        if (!v || values_[v.id].free || values_[v.id].consumers.size() > kManyReaders) continue;
        for (int reader : values_[v.id].consumers) readers.insert(reader);
      }
    }
  }
  for (int n : readers) {
    if (moved.contains(n) || graph_.nodes[n].inputs.size() > kManyOperands) continue;
    const LayoutChoice* const old = nodes_[n].choice;
    if (Choose(n, /*first=*/false)) trail.emplace_back(n, old);
  }
}

void LayoutSearch::Change(int n, const LayoutChoice& choice, Trail& trail) {
  trail.emplace_back(n, nodes_[n].choice);
  Withdraw(n);
  Apply(n, choice);
}

void LayoutSearch::Undo(size_t length, Trail& trail) {
  while (trail.size() > length) {
    const auto [n, old] = trail.back();
    trail.pop_back();
    Withdraw(n);
    Apply(n, *old);
  }
}

// What the nodes of the trail and the values that they touch cost now.
double LayoutSearch::Total(const Trail& trail) {
  std::set<int> touched, nodes;
  double price = 0;
  for (const auto& [n, old] : trail) {
    if (!nodes.insert(n).second) continue;
    price += nodes_[n].weight * nodes_[n].choice->seconds;
    for (Value v : graph_.nodes[n].inputs) {
      if (v) touched.insert(v.id);
    }
    for (Value v : graph_.nodes[n].outputs) touched.insert(v.id);
  }
  for (int v : touched) {
    const ValueState& value = values_[v];
    if (!value.free) price += ValuePrice(value, value.made, value.home, {});
  }
  return price;
}

}  // namespace weft
