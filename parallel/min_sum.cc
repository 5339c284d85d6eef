#include "parallel/min_sum.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "runtime/logging.h"

namespace weft {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// What counts as less, of the sum compared: sums of one thing in another order are no improvement.
constexpr double kLess = 1 - 1e-12;

// Which variables share a table, as elimination goes on.
class Interactions {
 public:
  Interactions(const std::vector<int>& domains, const std::vector<std::vector<int>>& scopes)
      : neighbours_(domains.size()), size_(domains.size()) {
    for (size_t x = 0; x < domains.size(); ++x) {
      log_.push_back(std::log(static_cast<double>(domains[x])));
      size_[x] = log_[x];
    }
    for (const std::vector<int>& scope : scopes) {
      for (int x : scope) {
        for (int y : scope) Connect(x, y);
      }
    }
    for (size_t x = 0; x < domains.size(); ++x) queue_.emplace(size_[x], static_cast<int>(x));
  }

  bool empty() const { return queue_.empty(); }
  // The variable whose elimination makes the smallest table.
  int Next() const { return queue_.begin()->second; }
  // Entries of that table times the variable's values.
  double Entries(int x) const { return std::exp(size_[x]); }

  // x itself or the neighbour of it that has most neighbours.
  int Hub(int x) const {
    int hub = x;
    for (int y : neighbours_[x]) {
      const size_t more = neighbours_[y].size(), most = neighbours_[hub].size();
      if (more > most || (more == most && y < hub)) hub = y;
    }
    return hub;
  }

  // Takes x out; with `join` its neighbours then share a table.
  void Remove(int x, bool join) {
    queue_.erase({size_[x], x});
    std::vector<int> around(neighbours_[x].begin(), neighbours_[x].end());
    for (int y : around) queue_.erase({size_[y], y});
    for (int y : around) {
      neighbours_[y].erase(x);
      size_[y] -= log_[x];
      for (int z : around) {
        if (join) Connect(y, z);
      }
    }
    for (int y : around) queue_.emplace(size_[y], y);
  }

 private:
  // One way; the caller does the other.
  void Connect(int x, int y) {
    if (x != y && neighbours_[x].insert(y).second) size_[x] += log_[y];
  }

  std::vector<absl::flat_hash_set<int>> neighbours_;
  std::vector<double> log_, size_;
  std::set<std::pair<double, int>> queue_;
};

// A variable's elimination: the table over what it shared tables with, and its best value there.
struct Message {
  CostTable table;
  std::shared_ptr<const std::vector<int>> best;
};

// A table seen from the scope of a message: how far an index moves per variable.
struct View {
  const double* entries;
  std::vector<int64_t> strides;  // by variable of the message's scope
  int64_t own = 0;               // of the variable that is eliminated
};

class Eliminator {
 public:
  Eliminator(const MinSumProblem& problem, const std::vector<int>& incumbent)
      : domains_(problem.domains), values_(incumbent), factors_of_(problem.domains.size()) {}

  void Fix(const std::vector<int>& variables) {
    for (int x : variables) domains_[x] = 1;
  }

  void Add(CostFactor factor) {
    const int id = static_cast<int>(factors_.size());
    for (int x : factor.scope) factors_of_[x].push_back(id);
    factors_.push_back(std::move(factor));
  }

  // The factor with fixed variables at their incumbent values.
  CostFactor Reduced(const CostFactor& factor, const std::vector<int>& domains) {
    CostFactor result;
    std::vector<int64_t> strides(factor.scope.size());
    int64_t stride = 1, base = 0;
    for (size_t i = factor.scope.size(); i-- > 0;) {
      const int x = factor.scope[i];
      strides[i] = stride;
      if (domains_[x] != domains[x]) base += stride * values_[x];
      stride *= domains[x];
    }
    std::vector<int64_t> kept;
    for (size_t i = 0; i < factor.scope.size(); ++i) {
      if (domains_[factor.scope[i]] != domains[factor.scope[i]]) continue;
      result.scope.push_back(factor.scope[i]);
      kept.push_back(strides[i]);
    }
    if (result.scope.size() == factor.scope.size()) return factor;
    CostTable& cut = cuts_[{factor.table.get(), base, kept}];
    if (cut == nullptr) {
      const View view{factor.table->data() + base, kept, 0};
      cut = Sum(result.scope, {view}, 1).table;
    }
    result.table = cut;
    return result;
  }

  void Eliminate(int x) {
    std::vector<int> scope;
    std::vector<int> used;
    for (int f : factors_of_[x]) {
      if (factors_[f].table == nullptr) continue;
      used.push_back(f);
      for (int y : factors_[f].scope) {
        if (y != x) scope.push_back(y);
      }
    }
    std::sort(scope.begin(), scope.end());
    scope.erase(std::unique(scope.begin(), scope.end()), scope.end());
    std::vector<View> views;
    std::vector<int64_t> key = {domains_[x]};
    for (int y : scope) key.push_back(domains_[y]);
    for (int f : used) {
      View view{factors_[f].table->data(), std::vector<int64_t>(scope.size(), 0), 0};
      int64_t stride = 1;
      for (size_t i = factors_[f].scope.size(); i-- > 0;) {
        const int y = factors_[f].scope[i];
        if (y == x) {
          view.own = stride;
        } else {
          view.strides[std::lower_bound(scope.begin(), scope.end(), y) - scope.begin()] = stride;
        }
        stride *= domains_[y];
      }
      key.push_back(reinterpret_cast<intptr_t>(view.entries));
      key.insert(key.end(), view.strides.begin(), view.strides.end());
      views.push_back(std::move(view));
    }
    Message& message = messages_[key];
    if (message.table == nullptr) message = Sum(scope, views, domains_[x]);
    for (int f : used) {
      spent_.push_back(std::move(factors_[f].table));  // a table's address is part of keys
      factors_[f].table = nullptr;
    }
    done_.push_back({x, scope, message.best});
    if (!scope.empty()) Add({std::move(scope), message.table});
  }

  std::vector<int> Values() && {
    for (size_t i = done_.size(); i-- > 0;) {
      int64_t at = 0;
      for (int y : done_[i].scope) at = at * domains_[y] + (domains_[y] == 1 ? 0 : values_[y]);
      values_[done_[i].variable] = (*done_[i].best)[at];
    }
    return std::move(values_);
  }

 private:
  struct Done {
    int variable;
    std::vector<int> scope;
    std::shared_ptr<const std::vector<int>> best;
  };

  // The least sum over `count` values, for all entries of `scope`, less the least of all.
  Message Sum(const std::vector<int>& scope, std::vector<View> views, int count) const {
    int64_t entries = 1;
    for (int y : scope) entries *= domains_[y];
    auto table = std::make_shared<std::vector<double>>(entries);
    auto best = std::make_shared<std::vector<int>>(entries);
    std::vector<int> at(scope.size(), 0);
    double least = kInfinity;
    for (int64_t e = 0; e < entries; ++e) {
      double lowest = kInfinity;
      int chosen = 0;
      for (int value = 0; value < count; ++value) {
        double sum = 0;
        for (const View& view : views) sum += view.entries[value * view.own];
        if (sum < lowest * kLess || (lowest == kInfinity && sum < lowest)) {
          lowest = sum;
          chosen = value;
        }
      }
      (*table)[e] = lowest;
      (*best)[e] = chosen;
      least = std::min(least, lowest);
      for (size_t i = scope.size(); i-- > 0;) {
        const bool wraps = ++at[i] == domains_[scope[i]];
        for (View& view : views)
          view.entries += wraps ? -view.strides[i] * (at[i] - 1) : view.strides[i];
        if (!wraps) break;
        at[i] = 0;
      }
    }
    CHECK(least < kInfinity) << "the incumbent has no finite sum";
    for (double& entry : *table) entry -= least;
    return {table, best};
  }

  std::vector<int> domains_, values_;
  std::vector<CostFactor> factors_;
  std::vector<std::vector<int>> factors_of_;
  std::vector<CostTable> spent_;
  std::vector<Done> done_;
  std::map<std::vector<int64_t>, Message> messages_;
  std::map<std::tuple<const void*, int64_t, std::vector<int64_t>>, CostTable> cuts_;
};

}  // namespace

EliminationOrder OrderElimination(const std::vector<int>& domains,
                                  const std::vector<std::vector<int>>& scopes,
                                  double most_entries) {
  Interactions graph(domains, scopes);
  EliminationOrder result;
  while (!graph.empty()) {
    const int x = graph.Next();
    const double entries = graph.Entries(x);
    if (entries > most_entries * 1.000001) {
      const int hub = graph.Hub(x);
      result.fixed.push_back(hub);
      graph.Remove(hub, /*join=*/false);
      continue;
    }
    result.work += entries;
    result.order.push_back(x);
    graph.Remove(x, /*join=*/true);
  }
  return result;
}

std::vector<int> Eliminate(const MinSumProblem& problem, const EliminationOrder& order,
                           const std::vector<int>& incumbent) {
  Eliminator eliminator(problem, incumbent);
  eliminator.Fix(order.fixed);
  for (const CostFactor& factor : problem.factors) {
    CostFactor reduced = eliminator.Reduced(factor, problem.domains);
    if (!reduced.scope.empty()) eliminator.Add(std::move(reduced));
  }
  for (int x : order.order) eliminator.Eliminate(x);
  return std::move(eliminator).Values();
}

}  // namespace weft
