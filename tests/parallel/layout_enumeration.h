// All layouts of one graph, priced one by one: what layout search is judged by.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "parallel/axis_roles.h"
#include "parallel/cost_model.h"
#include "parallel/layout_choices.h"
#include "parallel/layout_table.h"

namespace weft {

// Of a graph on one mesh whose nodes have one result each. The price is the ops' seconds, and per
// value the cheapest way to have it in all layouts that are wanted. Homes of inputs and variables
// follow from the ops' choices, one by one. Refers to the graph and the cost model.
class LayoutEnumeration {
 public:
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  LayoutEnumeration(const Graph& graph, const CostModel& cost);

  double combinations() const;
  // Of all calls of Least.
  int64_t visits() const { return visits_; }

  // The least price of all, if below `bound`, else `bound`. Without `prune` every combination is
  // priced to the end; with it, none that a lower bound shows not to be below the best, nor any
  // that begins dearer than another one with the same choices left to pay for.
  double Least(double bound, bool prune);

  // What the layouts of an inferred graph cost; conversions of annotations are nodes there.
  double PriceOf(const Graph& inferred);

 private:
  struct ValueFacts {
    bool free = false, strict = false, annotated = false;
    bool priced_with_variable = false;  // an update of a free variable
    uint64_t asked_splits = 0;
    uint32_t exchanged = 0;
    LayoutId home = kNoLayout;
    std::vector<LayoutId> homes, demands;
    std::vector<std::pair<int, int>> readers;  // node and operand
    int update = -1;
    // The lower bound: which nodes count a share of the price, and the least seconds between any
    // two layouts that the value may be in, by whatever way round.
    std::vector<int> owned;
    std::map<std::pair<LayoutId, LayoutId>, double> nearest;
  };

  void SetUpValues();
  void SetUpBound();
  void FindNearest(ValueFacts& facts, int node);
  bool MayConvert(const ValueFacts& facts, LayoutId home, LayoutId want) const;
  double PriceAt(int value, LayoutId made, LayoutId extra);
  double ValuePrice(int value);
  double Share(int value, LayoutId made, int reader, const LayoutChoice& choice);
  double Tail(int value, LayoutId made, int reader);
  double BoundFrom(size_t next);
  std::vector<LayoutId> Frontier(size_t next) const;
  void Descend(size_t n, double price);

  const Graph& graph_;
  const CostModel& cost_;
  LayoutTable table_;
  LayoutChoicesCache cache_;
  AxisRoles roles_;
  std::vector<std::vector<const LayoutChoice*>> choices_;
  std::vector<ValueFacts> values_;
  std::vector<std::vector<int>> complete_at_;
  std::vector<int> complete_at_start_;
  std::vector<int> last_;  // by value: the node after which it is priced
  // By node: the operand whose price it counts a share of; per choice, what it and all nodes that
  // hang on it cost at least; and from the layout in which that operand is made.
  std::vector<int> owner_;
  std::vector<std::map<const LayoutChoice*, double>> rest_;
  std::vector<std::map<LayoutId, double>> tails_;
  std::vector<const LayoutChoice*> taken_;
  std::vector<std::map<std::vector<LayoutId>, double>> cheapest_;  // by node: of each frontier
  double best_ = 0;
  bool prune_ = false;
  int64_t visits_ = 0;
};

}  // namespace weft
