// LayoutSearch: one signature per mesh axis for every node, by a greedy pass in program order and
// then sweeps in which each node is chosen anew given its neighbours, until nothing improves.
//
// Two rules keep the result what an engineer would write. An axis divides a node's work only where
// some operand already lies so (annotations spread along data flow; nobody slices a broadcast
// activation because slicing is free). And an activation is converted unasked only from or to
// broadcast; between splits only where the user annotates the result. Per-step values (gradients,
// states) may convert in any way, so a sharded state pulls its gradient to it by reduce-scatter.
#pragma once

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "graph/graph.h"
#include "parallel/layout_choices.h"
#include "parallel/layout_table.h"
#include "parallel/pass.h"

namespace weft {

inline constexpr double kImprovement = 1 - 1e-9;  // what counts as cheaper
// A value with more readers than this does not wake them all when one of them changes.
inline constexpr size_t kManyReaders = 16;

// Deterministic: equal graphs get equal layouts. Refers to the graph, which must not change
// meanwhile.
class LayoutSearch {
 public:
  LayoutSearch(const Graph& graph, const PassContext& context);

  // Decides everything. Errors: contradictory annotations, naming both values; results of one node
  // on two meshes.
  absl::Status Run();

  // The layout in which the op makes the value (that of the value, for inputs and variables), and
  // the one in which it is kept; they differ where an annotation asks for what the op does not
  // give.
  const Layout& Made(Value v) const { return table_.layout(values_[v.id].made); }
  const Layout& Kept(Value v) const { return table_.layout(values_[v.id].home); }
  // In which the node takes its operands; empty for absent ones.
  std::vector<Layout> InputLayouts(int node) const;

 private:
  struct ValueState {
    LayoutId made = kNoLayout;  // as the op makes it
    LayoutId home = kNoLayout;  // as it is kept
    bool annotated = false;
    bool free = false;    // an input or variable not yet settled: lies however it is wanted
    double weight = 1;    // conversions of it per step
    bool strict = false;  // an activation: conversions are to be plain
    // Layouts in which it is wanted, with the number of wants.
    absl::InlinedVector<std::pair<LayoutId, int>, 3> wants;
    std::vector<int> consumers;  // nodes
  };
  struct NodeState {
    LayoutChoices* choices = nullptr;
    const LayoutChoice* choice = nullptr;
    double weight = 1;  // firings per step
    bool dirty = true;
  };

  void SetUpValues();
  absl::Status SetUpNodes();
  absl::Status CheckUpdates() const;
  // Demands of the host and of variables whose layouts are known.
  void AddDemands();
  void SettleVariables();
  void SettleFree(int value);
  LayoutId Meet(int value);

  void Greedy();
  void Sweep();
  // Chooses the node's signatures anew; whether they changed. The node's wants are taken back while
  // it chooses.
  bool Choose(int node, bool first);
  double Price(int node, const LayoutChoice& choice, bool first);
  double InputsPrice(const Node& node, const LayoutChoice& choice);
  double OutputsPrice(const Node& node, const LayoutChoice& choice, bool first);
  // Seconds per step of a value that is made so and kept so, for its wants and `more`.
  double ValuePrice(const ValueState& value, LayoutId made, LayoutId home,
                    const std::vector<LayoutId>& more);
  bool Follows(const Node& node, const NodeState& state, const SignatureIndices& indices) const;
  bool FollowsOn(const Node& node, const Signature& signature, int axis) const;
  // Moves of several nodes at once, for what no single node can begin: n takes another signature on
  // an axis together with those that make its operands. Whether the graph got cheaper.
  bool PullOperands(int node);
  bool TryPull(int node, int axis, int signature);
  // Makes result `output` of the node lie so on an axis, operands first where needed. Changed nodes
  // go to `trail` with the choices that they had.
  using Trail = std::vector<std::pair<int, const LayoutChoice*>>;
  bool Pull(int node, int axis, int output, Sbp wanted, int depth, Trail& trail);
  void PullInputs(int node, int axis, const Signature& signature, int depth, Trail& trail);
  void ChooseReaders(Trail& trail);
  void Change(int node, const LayoutChoice& choice, Trail& trail);
  void Undo(size_t length, Trail& trail);
  bool Converts(int node);
  double Total(const Trail& trail);
  void Want(int value, LayoutId layout, int times);
  void Apply(int node, const LayoutChoice& choice);
  void Withdraw(int node);
  void MarkNeighbours(int node);

  const Graph& graph_;
  const PassContext& context_;
  LayoutTable table_;
  LayoutChoicesCache cache_;
  std::vector<ValueState> values_;
  std::vector<NodeState> nodes_;
  std::vector<LayoutId> scratch_;
};

}  // namespace weft
