// Least sum of small cost tables over discrete variables, by variable elimination (R. Dechter,
// "Bucket elimination", 1999; over layouts: the node and edge elimination of FlexFlow and Alpa). A
// chain or a ladder of layers has tables as wide as its cut, whatever its length.
#pragma once

#include <memory>
#include <vector>

namespace weft {

// Row-major, the last variable of the scope fastest. Shared: equal parts of a problem that share
// their tables are worked out once.
using CostTable = std::shared_ptr<const std::vector<double>>;

struct CostFactor {
  std::vector<int> scope;  // variables, ascending
  CostTable table;         // may hold infinity
};

struct MinSumProblem {
  std::vector<int> domains;  // number of values, by variable; at least 1
  std::vector<CostFactor> factors;
};

struct EliminationOrder {
  std::vector<int> order;  // all variables that are eliminated
  std::vector<int> fixed;  // variables that keep their incumbent value, since no order would have
                           // tables below the limit
  double work = 0;         // sum of all entries that Eliminate visits

  bool exact() const { return fixed.empty(); }
};

// Greedy: the variable with the smallest table next. No table, that variable included, gets more
// than `most_entries`. Reads scopes only. Deterministic.
EliminationOrder OrderElimination(const std::vector<int>& domains,
                                  const std::vector<std::vector<int>>& scopes, double most_entries);

// Values of the least sum, given those of `order.fixed` from `incumbent`; of equals, the lower
// values. The incumbent's sum must be finite.
std::vector<int> Eliminate(const MinSumProblem& problem, const EliminationOrder& order,
                           const std::vector<int>& incumbent);

}  // namespace weft
