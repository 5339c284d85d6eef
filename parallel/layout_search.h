// LayoutSearch: one signature per mesh axis for every node, and a layout for every input and
// variable, of the least modelled time: seconds of all ops' local work plus seconds of all
// conversions, each made once for all that want it.
//
// The search is exact where the graph is narrow, however long: variables of a MinSumProblem are
// the choices, factors what ops and values cost. All axes are chosen together where the tables
// allow it, else one axis at a time over the whole graph, the others as they are, until no axis
// improves. docs/decisions/0006-layouts-by-elimination.md.
//
// Two rules make the result what an engineer would write. Axis names mean something
// (parallel/axis_roles.h). And an activation is converted unasked only from or to broadcast;
// between splits only where the user annotates the result, from a sum to a split only where
// annotations split that extent. Per-step values (gradients, states) may
// convert in any way, so a sharded state pulls its gradient to it by reduce-scatter.
#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "graph/graph.h"
#include "parallel/axis_roles.h"
#include "parallel/layout_choices.h"
#include "parallel/layout_table.h"
#include "parallel/min_sum.h"
#include "parallel/pass.h"

namespace weft {

// Moves `at` to the next combination of choices below `sizes`; false after the last.
inline bool NextCombination(std::vector<int>& at, const std::vector<int>& sizes) {
  for (size_t i = at.size(); i-- > 0;) {
    if (++at[i] < sizes[i]) return true;
    at[i] = 0;
  }
  return false;
}

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
  const LayoutCertificate& certificate() const { return certificate_; }

 private:
  // What a node may choose from, on the axes that are searched.
  struct NodeDomain {
    std::vector<const LayoutChoice*> choices;
    CostTable seconds;  // per step
  };
  struct ValueState {
    LayoutId made = kNoLayout;  // as the op makes it
    LayoutId home = kNoLayout;  // as it is kept
    bool annotated = false;
    bool free = false;                 // an input or variable that lies however it is wanted
    double weight = 1;                 // conversions of it per step
    bool strict = false;               // an activation: conversions are to be plain
    uint64_t asked_splits = 0;         // of a strict one, by annotations elsewhere
    uint32_t exchanged = 0;            // of a strict one: axes on which splits become others
    std::vector<LayoutId> demands;     // wanted whatever is chosen
    std::vector<int> consumers;        // nodes
    std::vector<int> updates;          // free variables whose content it becomes
    std::vector<LayoutId> candidates;  // of a free one: homes to choose from
    int variable = -1;                 // of the problem; -1 where there is nothing to choose
  };
  struct NodeState {
    LayoutChoices* choices = nullptr;
    const LayoutChoice* choice = nullptr;
    double weight = 1;                      // firings per step
    std::vector<std::vector<int>> allowed;  // signatures by axis
    std::shared_ptr<const NodeDomain> domain;
    int variable = -1;  // of the problem; -1 where there is nothing to choose
  };
  // Who has a say in what a value costs: per choice, the layout in which it makes the value, or
  // those in which it wants it.
  struct Part {
    int variable = -1;
    std::vector<std::vector<LayoutId>> layouts;
  };
  // A set of layouts in which a value is at hand, and what it is made as.
  struct Copies {
    LayoutId made;
    std::vector<LayoutId> wants;
  };
  // What a value costs, as factors over the parts whose choices matter: one factor, or for a value
  // with many readers a variable for the set of copies and a factor with each part.
  struct ValueCost {
    int value = -1;
    LayoutId made = kNoLayout;  // where no part chooses it
    int maker = -1;             // among the parts, or -1
    std::vector<LayoutId> fixed_wants;
    std::vector<Part> parts;   // by variable, ascending
    int copies_variable = -1;  // -1: one factor
    std::vector<Copies> copies;
  };
  // The choices on some axes, the rest being as it is.
  struct Problem {
    std::vector<int> domains, incumbent;  // by variable
    std::vector<int> nodes;               // variables first stand for these nodes,
    std::vector<int> values;              // then for these free values,
    std::vector<ValueCost> costs;         // then for sets of copies
    bool exact = true;                    // whether all sets of copies are considered
  };

  void SetUpValues();
  absl::Status SetUpNodes();
  const LayoutChoice* FirstChoice(NodeState& state);  // nullptr: nothing allowed is legal
  absl::Status CheckUpdates() const;
  void AddDemands();

  // Chooses anew on the axes marked in `axes`, the rest as it is. False, with nothing changed, if
  // that needs tables of more than `most_work` entries together; a single one has no more than
  // `most_entries`, for which choices are kept as they are where needed: then not *exact.
  bool SearchAxes(const std::vector<bool>& axes, double most_entries, double most_work,
                  bool* exact);
  // False if there are too many choices to consider.
  bool MakeProblem(const std::vector<bool>& axes, Problem& problem);
  std::shared_ptr<const NodeDomain> DomainOf(int node, const std::vector<bool>& axes);
  std::vector<LayoutId> HomesOf(int value, const std::vector<bool>& axes);
  ValueCost CostOf(int value);
  // Index of the first of `cost.copies` that holds the incumbent.
  size_t ListCopies(ValueCost& cost, Copies incumbent, Problem& problem);
  std::vector<std::vector<int>> Scopes(const Problem& problem) const;
  MinSumProblem Tables(const Problem& problem);
  CostTable WholeTable(const ValueCost& cost);
  void Take(const Problem& problem, const std::vector<int>& chosen);
  // Seconds per step of a value that is made so, for these wants (repetitions allowed).
  double ValuePrice(int value, LayoutId made, std::vector<LayoutId> wants);
  double Total();

  const Graph& graph_;
  const PassContext& context_;
  LayoutTable table_;
  LayoutChoicesCache cache_;
  AxisRoles roles_;
  std::vector<ValueState> values_;
  std::vector<NodeState> nodes_;
  int num_axes_ = 0;  // of the mesh with the most
  LayoutCertificate certificate_;
  std::map<std::vector<int64_t>, std::shared_ptr<const NodeDomain>> domains_;
  std::map<std::vector<int64_t>, CostTable> tables_;
};

}  // namespace weft
