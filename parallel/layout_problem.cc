#include <algorithm>
#include <cstring>
#include <limits>

#include "parallel/layout_search.h"

// The choices on some axes as a problem of least sums: its variables, and what nodes and values
// cost as tables over them.

namespace weft {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Choices of one node, all axes together, beyond which axes are not chosen together.
constexpr size_t kMostChoices = 512;
constexpr size_t kMostParts = 4;   // of a value whose cost is one factor
constexpr size_t kMostWants = 5;   // of which all sets are considered
constexpr size_t kLargestSet = 2;  // beyond that
// A state below this many bytes on a rank is not worth a message of its own.
constexpr int64_t kWorthSharding = 1 << 14;

int64_t Bits(double number) {
  int64_t bits;
  static_assert(sizeof bits == sizeof number);
  std::memcpy(&bits, &number, sizeof bits);
  return bits;
}

void AddOnce(LayoutId layout, std::vector<LayoutId>& layouts) {
  if (std::find(layouts.begin(), layouts.end(), layout) == layouts.end()) layouts.push_back(layout);
}

bool Contains(const std::vector<LayoutId>& layouts, LayoutId layout) {
  return std::find(layouts.begin(), layouts.end(), layout) != layouts.end();
}

}  // namespace

std::shared_ptr<const LayoutSearch::NodeDomain> LayoutSearch::DomainOf(
    int n, const std::vector<bool>& axes) {
  NodeState& state = nodes_[n];
  std::vector<std::vector<int>> options;
  std::vector<int64_t> key = {reinterpret_cast<intptr_t>(state.choices), Bits(state.weight)};
  std::vector<int> sizes;
  size_t count = 1;
  for (int a = 0; a < state.choices->num_axes(); ++a) {
    if (axes[a]) {
      options.push_back(state.allowed[a]);
    } else {
      options.push_back({state.choice->signatures[a]});
    }
    key.push_back(static_cast<int64_t>(options.back().size()));
    key.insert(key.end(), options.back().begin(), options.back().end());
    sizes.push_back(static_cast<int>(options.back().size()));
    count *= options.back().size();
  }
  if (count > kMostChoices && std::count(axes.begin(), axes.end(), true) > 1) return nullptr;
  std::shared_ptr<const NodeDomain>& known = domains_[key];
  if (known != nullptr) return known;
  auto domain = std::make_shared<NodeDomain>();
  auto seconds = std::make_shared<std::vector<double>>();
  std::vector<int> at(sizes.size(), 0);
  do {
    SignatureIndices indices;
    for (size_t a = 0; a < at.size(); ++a) indices.push_back(options[a][at[a]]);
    const LayoutChoice& choice = state.choices->Get(indices, table_, context_.cost);
    if (!choice.legal) continue;
    domain->choices.push_back(&choice);
    seconds->push_back(state.weight * choice.seconds);
  } while (NextCombination(at, sizes));
  domain->seconds = std::move(seconds);
  return known = std::move(domain);
}

std::vector<LayoutId> LayoutSearch::HomesOf(int v, const std::vector<bool>& axes) {
  const ValueInfo& info = graph_.values[v];
  const Mesh& mesh = graph_.meshes[info.mesh];
  const Layout now = table_.layout(values_[v].home);
  std::vector<std::vector<Sbp>> options;
  std::vector<int> sizes;
  for (int a = 0; a < mesh.num_axes(); ++a) {
    options.push_back({now[a]});
    if (axes[a] && mesh.axes()[a].size > 1) {
      options.back() = {Sbp::B()};
      for (int d = 0; d < info.spec.rank(); ++d) {
        if (info.spec.shape[d] > 0 && roles_.AllowsHome(Value{v}, Sbp::S(d), a)) {
          options.back().push_back(Sbp::S(d));
        }
      }
      const bool large = table_.local(values_[v].home).bytes() >= kWorthSharding;
      if (large && options.back().size() > 1 && roles_.MustSplit(Value{v}, a)) {
        options.back().erase(options.back().begin());
      }
    }
    sizes.push_back(static_cast<int>(options.back().size()));
  }
  std::vector<LayoutId> homes;
  std::vector<int> at(sizes.size(), 0);
  do {
    Layout layout;
    for (size_t a = 0; a < at.size(); ++a) layout.push_back(options[a][at[a]]);
    AddOnce(table_.Intern(info.spec, info.mesh, layout), homes);
  } while (NextCombination(at, sizes));
  return homes;
}

bool LayoutSearch::MakeProblem(const std::vector<bool>& axes, Problem& problem) {
  const auto add = [&problem](size_t domain, size_t incumbent) {
    problem.domains.push_back(static_cast<int>(domain));
    problem.incumbent.push_back(static_cast<int>(incumbent));
    return static_cast<int>(problem.domains.size()) - 1;
  };
  for (size_t n = 0; n < nodes_.size(); ++n) {
    NodeState& state = nodes_[n];
    state.domain = DomainOf(static_cast<int>(n), axes);
    if (state.domain == nullptr) return false;
    const auto& choices = state.domain->choices;
    state.variable = -1;
    if (choices.size() == 1) continue;
    const auto now = std::find(choices.begin(), choices.end(), state.choice);
    state.variable = add(choices.size(), now - choices.begin());
    problem.nodes.push_back(static_cast<int>(n));
  }
  for (size_t v = 0; v < values_.size(); ++v) {
    ValueState& value = values_[v];
    value.variable = -1;
    if (!value.free) continue;
    value.candidates = HomesOf(static_cast<int>(v), axes);
    const auto now = std::find(value.candidates.begin(), value.candidates.end(), value.home);
    if (now == value.candidates.end()) value.home = value.made = value.candidates[0];
    if (value.candidates.size() == 1) continue;
    value.variable = add(value.candidates.size(),
                         now == value.candidates.end() ? 0 : now - value.candidates.begin());
    problem.values.push_back(static_cast<int>(v));
  }
  for (size_t v = 0; v < values_.size(); ++v) {
    ValueCost cost = CostOf(static_cast<int>(v));
    if (cost.parts.empty()) continue;
    if (cost.parts.size() > kMostParts) {
      // The incumbent holds what its parts want now.
      LayoutId made = cost.made;
      std::vector<LayoutId> wants;
      for (size_t p = 0; p < cost.parts.size(); ++p) {
        const std::vector<LayoutId>& layouts =
            cost.parts[p].layouts[problem.incumbent[cost.parts[p].variable]];
        if (static_cast<int>(p) == cost.maker) {
          made = layouts[0];
          continue;
        }
        for (LayoutId want : layouts) {
          if (!Contains(cost.fixed_wants, want)) AddOnce(want, wants);
        }
      }
      const size_t now = ListCopies(cost, {made, std::move(wants)}, problem);
      cost.copies_variable = add(cost.copies.size(), now);
    }
    problem.costs.push_back(std::move(cost));
  }
  return true;
}

LayoutSearch::ValueCost LayoutSearch::CostOf(int v) {
  const ValueState& value = values_[v];
  ValueCost cost;
  cost.value = v;
  cost.made = value.made;
  cost.fixed_wants = value.demands;
  const auto varies = [](const Part& part) {
    return std::any_of(part.layouts.begin(), part.layouts.end(),
                       [&](const auto& layouts) { return layouts != part.layouts[0]; });
  };
  const auto wants = [&](Part part) {
    if (part.variable >= 0 && varies(part)) {
      cost.parts.push_back(std::move(part));
    } else {
      for (LayoutId layout : part.layouts[0]) AddOnce(layout, cost.fixed_wants);
    }
  };
  Part maker;
  const ValueInfo& info = graph_.values[v];
  if (info.node >= 0) {
    maker.variable = nodes_[info.node].variable;
    for (const LayoutChoice* choice : nodes_[info.node].domain->choices) {
      maker.layouts.push_back({choice->outputs[info.output]});
    }
  } else if (value.free) {
    maker.variable = value.variable;
    for (LayoutId home : value.candidates) maker.layouts.push_back({home});
  }
  const int made_by = maker.variable;
  if (made_by >= 0 && varies(maker))
    cost.parts.push_back(std::move(maker));
  else if (!maker.layouts.empty())
    cost.made = maker.layouts[0][0];
  const bool maker_varies = !cost.parts.empty();
  for (const int n : value.consumers) {
    Part part;
    part.variable = nodes_[n].variable;
    const Node& node = graph_.nodes[n];
    for (const LayoutChoice* choice : nodes_[n].domain->choices) {
      part.layouts.emplace_back();
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (node.inputs[i].id == v) AddOnce(choice->inputs[i], part.layouts.back());
      }
    }
    wants(std::move(part));
  }
  for (const int u : value.updates) {
    Part part;
    part.variable = values_[u].variable;
    for (LayoutId home : values_[u].candidates) part.layouts.push_back({home});
    wants(std::move(part));
  }
  std::sort(cost.fixed_wants.begin(), cost.fixed_wants.end());
  std::sort(cost.parts.begin(), cost.parts.end(),
            [](const Part& a, const Part& b) { return a.variable < b.variable; });
  for (size_t p = 0; p < cost.parts.size(); ++p) {
    if (maker_varies && cost.parts[p].variable == made_by) cost.maker = static_cast<int>(p);
  }
  return cost;
}

size_t LayoutSearch::ListCopies(ValueCost& cost, Copies incumbent, Problem& problem) {
  std::vector<LayoutId> made, wanted;
  if (cost.maker < 0) made.push_back(cost.made);
  for (size_t p = 0; p < cost.parts.size(); ++p) {
    std::vector<LayoutId>& layouts = static_cast<int>(p) == cost.maker ? made : wanted;
    for (const auto& choice : cost.parts[p].layouts) {
      for (LayoutId layout : choice) {
        if (&layouts == &made || !Contains(cost.fixed_wants, layout)) AddOnce(layout, layouts);
      }
    }
  }
  const bool all = wanted.size() <= kMostWants;
  problem.exact = problem.exact && all;
  std::vector<std::vector<LayoutId>> sets = {{}};
  for (LayoutId layout : wanted) {
    for (size_t s = 0, end = sets.size(); s < end; ++s) {
      if (!all && sets[s].size() >= kLargestSet) continue;
      sets.push_back(sets[s]);
      sets.back().push_back(layout);
    }
  }
  for (LayoutId layout : made) {
    for (const std::vector<LayoutId>& set : sets) cost.copies.push_back({layout, set});
  }
  for (size_t c = 0; c < cost.copies.size(); ++c) {
    const Copies& copies = cost.copies[c];
    if (copies.made == incumbent.made &&
        std::all_of(incumbent.wants.begin(), incumbent.wants.end(),
                    [&](LayoutId want) { return Contains(copies.wants, want); })) {
      return c;
    }
  }
  cost.copies.push_back(std::move(incumbent));  // larger than the sets considered
  return cost.copies.size() - 1;
}

std::vector<std::vector<int>> LayoutSearch::Scopes(const Problem& problem) const {
  std::vector<std::vector<int>> scopes;
  for (const ValueCost& cost : problem.costs) {
    scopes.emplace_back();
    for (const Part& part : cost.parts) {
      scopes.back().push_back(part.variable);
      if (cost.copies_variable < 0) continue;
      scopes.back().push_back(cost.copies_variable);
      scopes.emplace_back();
    }
  }
  return scopes;
}

CostTable LayoutSearch::WholeTable(const ValueCost& cost) {
  // Choices that make or want the value alike are priced once.
  std::vector<std::vector<std::vector<LayoutId>>> distinct;
  std::vector<std::vector<int>> which;
  std::vector<int> sizes, reduced_sizes;
  for (const Part& part : cost.parts) {
    distinct.emplace_back();
    which.emplace_back();
    for (const std::vector<LayoutId>& layouts : part.layouts) {
      auto it = std::find(distinct.back().begin(), distinct.back().end(), layouts);
      if (it == distinct.back().end()) it = distinct.back().insert(it, layouts);
      which.back().push_back(static_cast<int>(it - distinct.back().begin()));
    }
    sizes.push_back(static_cast<int>(part.layouts.size()));
    reduced_sizes.push_back(static_cast<int>(distinct.back().size()));
  }
  std::vector<double> reduced;
  std::vector<int> at(sizes.size(), 0);
  do {
    LayoutId made = cost.made;
    std::vector<LayoutId> wants = cost.fixed_wants;
    for (size_t p = 0; p < at.size(); ++p) {
      const std::vector<LayoutId>& layouts = distinct[p][at[p]];
      if (static_cast<int>(p) == cost.maker) {
        made = layouts[0];
      } else {
        wants.insert(wants.end(), layouts.begin(), layouts.end());
      }
    }
    reduced.push_back(ValuePrice(cost.value, made, std::move(wants)));
  } while (NextCombination(at, reduced_sizes));
  auto table = std::make_shared<std::vector<double>>();
  do {
    size_t index = 0;
    for (size_t p = 0; p < at.size(); ++p) index = index * reduced_sizes[p] + which[p][at[p]];
    table->push_back(reduced[index]);
  } while (NextCombination(at, sizes));
  return table;
}

MinSumProblem LayoutSearch::Tables(const Problem& problem) {
  MinSumProblem result;
  result.domains = problem.domains;
  for (const int n : problem.nodes) {
    result.factors.push_back({{nodes_[n].variable}, nodes_[n].domain->seconds});
  }
  for (const ValueCost& cost : problem.costs) {
    const ValueState& value = values_[cost.value];
    // Equal keys, equal tables: layers repeat.
    std::vector<int64_t> key = {Bits(value.weight),
                                value.strict,
                                static_cast<int64_t>(value.asked_splits),
                                static_cast<int64_t>(value.exchanged),
                                value.annotated ? value.home : kNoLayout,
                                cost.made,
                                cost.maker,
                                cost.copies_variable >= 0,
                                static_cast<int64_t>(cost.parts.size())};
    key.insert(key.end(), cost.fixed_wants.begin(), cost.fixed_wants.end());
    for (const Part& part : cost.parts) {
      key.push_back(-2);
      for (const std::vector<LayoutId>& layouts : part.layouts) {
        key.push_back(-3);
        key.insert(key.end(), layouts.begin(), layouts.end());
      }
    }
    if (cost.copies_variable < 0) {
      CostFactor factor;
      for (const Part& part : cost.parts) factor.scope.push_back(part.variable);
      CostTable& table = tables_[key];
      if (table == nullptr) table = WholeTable(cost);
      factor.table = table;
      result.factors.push_back(std::move(factor));
      continue;
    }
    key.push_back(-4);
    CostTable& own = tables_[key];
    if (own == nullptr) {
      auto table = std::make_shared<std::vector<double>>();
      for (const Copies& copies : cost.copies) {
        std::vector<LayoutId> wants = cost.fixed_wants;
        wants.insert(wants.end(), copies.wants.begin(), copies.wants.end());
        table->push_back(ValuePrice(cost.value, copies.made, std::move(wants)));
      }
      own = std::move(table);
    }
    result.factors.push_back({{cost.copies_variable}, own});
    for (size_t p = 0; p < cost.parts.size(); ++p) {
      key.back() = -5 - static_cast<int64_t>(p);
      CostTable& table = tables_[key];
      if (table == nullptr) {
        // Zero where the copies serve the part.
        auto serves = std::make_shared<std::vector<double>>();
        for (const std::vector<LayoutId>& layouts : cost.parts[p].layouts) {
          for (const Copies& copies : cost.copies) {
            const bool served =
                static_cast<int>(p) == cost.maker
                    ? copies.made == layouts[0]
                    : std::all_of(layouts.begin(), layouts.end(), [&](LayoutId want) {
                        return Contains(copies.wants, want) || Contains(cost.fixed_wants, want);
                      });
            serves->push_back(served ? 0 : kInfinity);
          }
        }
        table = std::move(serves);
      }
      result.factors.push_back({{cost.parts[p].variable, cost.copies_variable}, table});
    }
  }
  return result;
}

}  // namespace weft
