#include "tests/parallel/layout_enumeration.h"

#include <algorithm>

namespace weft {

LayoutEnumeration::LayoutEnumeration(const Graph& graph, const CostModel& cost)
    : graph_(graph), cost_(cost), table_(graph.meshes, cost), roles_(graph, false, 1, SequenceMeeting::kAuto) {
  const int axes = graph.meshes[0].num_axes();
  for (const Node& node : graph.nodes) {
    LayoutChoices* choices = cache_.Of(graph, node, 0, /*zigzag=*/false);
    choices_.emplace_back();
    SignatureIndices at(axes, 0);
    for (bool more = true; more;) {
      bool allowed = true;
      for (int a = 0; a < axes; ++a) {
        allowed = allowed && roles_.Allows(node, choices->signatures()[at[a]], a);
      }
      const LayoutChoice& choice = choices->Get(at, table_, cost_);
      if (allowed && choice.legal) choices_.back().push_back(&choice);
      more = false;
      for (int a = 0; a < axes && !more; ++a) {
        more = ++at[a] < choices->Count(a);
        if (!more) at[a] = 0;
      }
    }
  }
  SetUpValues();
  SetUpBound();
}

double LayoutEnumeration::combinations() const {
  double product = 1;
  for (const auto& choices : choices_) product *= static_cast<double>(choices.size());
  return product;
}

double LayoutEnumeration::Least(double bound, bool prune) {
  taken_.assign(graph_.nodes.size(), nullptr);
  best_ = bound;
  prune_ = prune;
  cheapest_.assign(graph_.nodes.size() + 1, {});
  double start = 0;
  for (int v : complete_at_start_) start += ValuePrice(v);
  Descend(0, start);
  return best_;
}

double LayoutEnumeration::PriceOf(const Graph& inferred) {
  size_t next = 0;
  double price = 0;
  const std::vector<ValueFacts> facts = values_;
  taken_.assign(graph_.nodes.size(), nullptr);
  for (size_t n = 0; n < graph_.nodes.size(); ++n) {
    while (inferred.nodes[next].is_reshard()) ++next;
    const Node& node = inferred.nodes[next++];
    for (const LayoutChoice* choice : choices_[n]) {
      bool same = true;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        same = same && table_.Intern(graph_.spec(graph_.nodes[n].inputs[i]), 0,
                                     node.input_layouts[i]) == choice->inputs[i];
      }
      const ValueInfo& made = inferred.info(node.outputs[0]);
      same = same && table_.Intern(made.spec, 0, made.layout) == choice->outputs[0];
      if (same && (taken_[n] == nullptr || choice->seconds < taken_[n]->seconds)) {
        taken_[n] = choice;
      }
    }
    if (taken_[n] == nullptr) return kNever;
    price += taken_[n]->seconds;
  }
  for (size_t v = 0; v < values_.size(); ++v) {
    if (values_[v].free) {
      const ValueInfo& info = inferred.values[v];
      values_[v].homes = {table_.Intern(info.spec, 0, info.layout)};
    }
    if (!values_[v].priced_with_variable) price += ValuePrice(static_cast<int>(v));
  }
  values_ = facts;
  return price;
}

void LayoutEnumeration::SetUpValues() {
  values_.assign(graph_.values.size(), {});
  last_.assign(values_.size(), -1);
  for (size_t v = 0; v < values_.size(); ++v) {
    const ValueInfo& info = graph_.values[v];
    ValueFacts& facts = values_[v];
    facts.strict = info.rate == Rate::kMicrobatch;
    facts.asked_splits = roles_.AskedSplits(Value{static_cast<int>(v)});
    facts.exchanged = roles_.ExchangedAxes(Value{static_cast<int>(v)});
    facts.annotated = info.annotation.has_value();
    if (facts.annotated) facts.home = table_.Intern(info.spec, 0, *info.annotation);
    facts.free = info.node < 0 && !facts.annotated;
    if (info.node >= 0) last_[v] = info.node;
    if (!facts.free) continue;
    std::vector<Layout> layouts = {{}};
    for (int a = 0; a < graph_.meshes[0].num_axes(); ++a) {
      std::vector<Layout> longer;
      for (const Layout& layout : layouts) {
        for (int d = -1; d < info.spec.rank(); ++d) {
          const Sbp sbp = d < 0 ? Sbp::B() : Sbp::S(d);
          if (!roles_.AllowsHome(Value{static_cast<int>(v)}, sbp, a)) continue;
          longer.push_back(layout);
          longer.back().push_back(sbp);
        }
      }
      layouts = std::move(longer);
    }
    for (const Layout& layout : layouts) {
      facts.homes.push_back(table_.Intern(info.spec, 0, layout));
    }
  }
  for (size_t n = 0; n < graph_.nodes.size(); ++n) {
    const Node& node = graph_.nodes[n];
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      values_[node.inputs[i].id].readers.emplace_back(n, i);
      last_[node.inputs[i].id] = static_cast<int>(n);
    }
  }
  for (const GraphOutput& output : graph_.outputs) {
    const ValueInfo& info = graph_.info(output.value);
    if (info.annotation) continue;
    values_[output.value.id].demands.push_back(
        table_.Intern(info.spec, 0, BroadcastLayout(graph_.meshes[0])));
  }
  for (const Variable& variable : graph_.variables) {
    if (!variable.update) continue;
    ValueFacts& content = values_[variable.value.id];
    ValueFacts& update = values_[variable.update.id];
    if (content.free) {
      content.update = variable.update.id;
      update.priced_with_variable = true;
      int& last = last_[variable.value.id];
      last = last_[variable.update.id] = std::max(last, last_[variable.update.id]);
    } else {
      update.demands.push_back(content.home);
    }
  }
  complete_at_.assign(graph_.nodes.size(), {});
  for (size_t v = 0; v < values_.size(); ++v) {
    if (values_[v].priced_with_variable) continue;
    (last_[v] < 0 ? complete_at_start_ : complete_at_[last_[v]]).push_back(static_cast<int>(v));
  }
}

bool LayoutEnumeration::MayConvert(const ValueFacts& facts, LayoutId home, LayoutId want) const {
  return !facts.strict ||
         IsPlainConversion(table_.layout(home), table_.layout(want), facts.asked_splits,
                           facts.exchanged);
}

double LayoutEnumeration::PriceAt(int v, LayoutId made, LayoutId extra) {
  const ValueFacts& facts = values_[v];
  const LayoutId home = facts.annotated ? facts.home : made;
  std::vector<LayoutId> wants = facts.demands;
  if (extra != kNoLayout) wants.push_back(extra);
  for (const auto& [n, i] : facts.readers) wants.push_back(taken_[n]->inputs[i]);
  std::sort(wants.begin(), wants.end());
  wants.erase(std::unique(wants.begin(), wants.end()), wants.end());
  for (LayoutId want : wants) {
    if (!MayConvert(facts, home, want)) return kNever;
  }
  return table_.Seconds(made, home) + table_.HopSeconds(home, wants);
}

double LayoutEnumeration::ValuePrice(int v) {
  const ValueInfo& info = graph_.values[v];
  const ValueFacts& facts = values_[v];
  if (info.node >= 0) return PriceAt(v, taken_[info.node]->outputs[info.output], kNoLayout);
  if (!facts.free) return PriceAt(v, facts.home, kNoLayout);
  double least = kNever;
  for (LayoutId home : facts.homes) {
    double price = PriceAt(v, home, kNoLayout);
    if (facts.update >= 0) {
      const ValueInfo& update = graph_.values[facts.update];
      price += PriceAt(facts.update, taken_[update.node]->outputs[update.output], home);
    }
    least = std::min(least, price);
  }
  return least;
}

// The bound. Of what a value costs, each reader alone would cost no more than the whole, nor do n
// readers' nth parts. Counted with the last-made operand of every node only, what is left is a
// tree, whose least sum is worked out from its leaves.

void LayoutEnumeration::FindNearest(ValueFacts& facts, int node) {
  std::vector<LayoutId> layouts = facts.demands;
  layouts.insert(layouts.end(), facts.homes.begin(), facts.homes.end());
  if (facts.home != kNoLayout) layouts.push_back(facts.home);
  if (node >= 0) {
    for (const LayoutChoice* choice : choices_[node]) layouts.push_back(choice->outputs[0]);
  }
  for (const auto& [n, i] : facts.readers) {
    for (const LayoutChoice* choice : choices_[n]) layouts.push_back(choice->inputs[i]);
  }
  std::sort(layouts.begin(), layouts.end());
  layouts.erase(std::unique(layouts.begin(), layouts.end()), layouts.end());
  auto& nearest = facts.nearest;
  for (LayoutId from : layouts) {
    for (LayoutId to : layouts) nearest[{from, to}] = table_.Seconds(from, to);
  }
  for (LayoutId by : layouts) {
    for (LayoutId from : layouts) {
      for (LayoutId to : layouts) {
        double& seconds = nearest[{from, to}];
        seconds = std::min(seconds, nearest[{from, by}] + nearest[{by, to}]);
      }
    }
  }
}

// The part that `reader`, choosing so, counts of the value's price.
double LayoutEnumeration::Share(int v, LayoutId made, int reader, const LayoutChoice& choice) {
  const ValueFacts& facts = values_[v];
  const LayoutId home = facts.annotated ? facts.home : made;
  double most = 0;
  for (const auto& [n, i] : facts.readers) {
    if (n != reader) continue;
    if (!MayConvert(facts, home, choice.inputs[i])) return kNever;
    most = std::max(most, facts.nearest.at({home, choice.inputs[i]}));
  }
  return (facts.nearest.at({made, home}) + most) / static_cast<double>(facts.owned.size());
}

void LayoutEnumeration::SetUpBound() {
  const size_t nodes = graph_.nodes.size();
  for (size_t v = 0; v < values_.size(); ++v) FindNearest(values_[v], graph_.values[v].node);
  for (size_t n = 0; n < nodes; ++n) {
    int owner = graph_.nodes[n].inputs[0].id;
    for (Value v : graph_.nodes[n].inputs) {
      if (graph_.info(v).node > graph_.values[owner].node) owner = v.id;
    }
    owner_.push_back(owner);
    values_[owner].owned.push_back(static_cast<int>(n));
  }
  rest_.resize(nodes);
  tails_.resize(nodes);
  for (size_t n = nodes; n-- > 0;) {
    const int made = graph_.nodes[n].outputs[0].id;
    for (const LayoutChoice* choice : choices_[n]) {
      double least = choice->seconds;
      for (int reader : values_[made].owned) least += Tail(made, choice->outputs[0], reader);
      rest_[n][choice] = least;
    }
  }
}

double LayoutEnumeration::Tail(int v, LayoutId made, int reader) {
  auto [it, added] = tails_[reader].emplace(made, kNever);
  if (!added) return it->second;
  for (const auto& [choice, rest] : rest_[reader]) {
    it->second = std::min(it->second, Share(v, made, reader, *choice) + rest);
  }
  return it->second;
}

// Of everything not priced yet when the nodes before `next` are taken.
double LayoutEnumeration::BoundFrom(size_t next) {
  double bound = 0;
  for (size_t v = 0; v < values_.size(); ++v) {
    const ValueFacts& facts = values_[v];
    const int node = graph_.values[v].node;
    if (node >= static_cast<int>(next)) continue;  // within the tail of what it hangs on
    std::vector<LayoutId> homes = facts.homes;
    if (!facts.free) homes = {node >= 0 ? taken_[node]->outputs[0] : facts.home};
    double least = kNever;
    for (LayoutId made : homes) {
      double sum = 0;
      for (int reader : facts.owned) {
        if (reader >= static_cast<int>(next)) {
          sum += Tail(static_cast<int>(v), made, reader);
        } else if (last_[v] >= static_cast<int>(next)) {
          sum += Share(static_cast<int>(v), made, reader, *taken_[reader]);
        }
      }
      least = std::min(least, sum);
    }
    bound += least;
  }
  return bound;
}

// All that the price of what is left depends on: how the values not priced yet are made, and wanted
// so far.
std::vector<LayoutId> LayoutEnumeration::Frontier(size_t next) const {
  std::vector<LayoutId> frontier;
  for (size_t v = 0; v < values_.size(); ++v) {
    const int node = graph_.values[v].node;
    if (last_[v] < static_cast<int>(next) || node >= static_cast<int>(next)) continue;
    frontier.push_back(kNoLayout);
    if (node >= 0) frontier.push_back(taken_[node]->outputs[0]);
    std::vector<LayoutId> wants;
    for (const auto& [n, i] : values_[v].readers) {
      if (n < static_cast<int>(next)) wants.push_back(taken_[n]->inputs[i]);
    }
    std::sort(wants.begin(), wants.end());
    wants.erase(std::unique(wants.begin(), wants.end()), wants.end());
    frontier.insert(frontier.end(), wants.begin(), wants.end());
  }
  return frontier;
}

void LayoutEnumeration::Descend(size_t n, double price) {
  ++visits_;
  if (n == choices_.size()) {
    best_ = std::min(best_, price);
    return;
  }
  for (const LayoutChoice* choice : choices_[n]) {
    taken_[n] = choice;
    double now = price + choice->seconds;
    for (int v : complete_at_[n]) now += ValuePrice(v);
    if (now == kNever) continue;
    if (prune_) {
      if (now + BoundFrom(n + 1) >= best_) continue;
      auto [it, added] = cheapest_[n + 1].emplace(Frontier(n + 1), now);
      if (!added && it->second <= now) continue;
      it->second = now;
    }
    Descend(n + 1, now);
  }
}

}  // namespace weft
