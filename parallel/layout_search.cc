#include "parallel/layout_search.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "parallel/reshard_step.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Between equals the later conversion wins, after the microbatches are summed.
constexpr double kMicrobatchBias = 1 + 1e-6;
constexpr double kImprovement = 1 - 1e-9;  // what counts as cheaper
constexpr int kMostRounds = 4;             // of choosing axis by axis
constexpr double kMostEntries = 1 << 22;   // of one table
constexpr double kMostWork = 3e7;          // entries of all tables, for choosing all axes at once
constexpr double kNoLimit = std::numeric_limits<double>::infinity();

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

LayoutSearch::LayoutSearch(const Graph& graph, const PassContext& context)
    : graph_(graph),
      context_(context),
      table_(graph.meshes, context.cost),
      roles_(graph, context.shard_states, context.microbatches, context.meeting) {
  for (const Mesh& mesh : graph.meshes) num_axes_ = std::max(num_axes_, mesh.num_axes());
}

absl::Status LayoutSearch::Run() {
  WEFT_RETURN_IF_ERROR(CheckUpdates());
  SetUpValues();
  WEFT_RETURN_IF_ERROR(SetUpNodes());
  AddDemands();
  bool exact = true;
  if (SearchAxes(std::vector<bool>(num_axes_, true), kMostEntries, kMostWork, &exact) && exact) {
    certificate_ = {.optimal = true, .axes_optimal = true, .seconds = Total()};
    return absl::OkStatus();
  }
  certificate_ = {.optimal = false, .axes_optimal = false, .seconds = Total()};
  for (int round = 0; round < kMostRounds; ++round) {
    exact = true;
    for (int a = 0; a < num_axes_; ++a) {
      std::vector<bool> axes(num_axes_, false);
      axes[a] = true;
      bool exact_here = true;
      SearchAxes(axes, kMostEntries, kNoLimit, &exact_here);
      exact = exact && exact_here;
    }
    const double before = certificate_.seconds;
    certificate_.seconds = Total();
    certificate_.axes_optimal = exact && certificate_.seconds >= before * kImprovement;
    if (certificate_.seconds >= before * kImprovement) break;
  }
  certificate_.optimal = certificate_.axes_optimal && num_axes_ == 1;
  return absl::OkStatus();
}

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
    value.strict = roles_.IsActivation(Value{static_cast<int>(v)});
    if (value.strict) {
      value.asked_splits = roles_.AskedSplits(Value{static_cast<int>(v)});
      value.exchanged = roles_.ExchangedAxes(Value{static_cast<int>(v)});
    }
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
    state.weight = 1;
    for (Value v : node.outputs) {
      if (graph_.info(v).mesh != mesh) {
        return absl::InvalidArgumentError(
            absl::StrCat("results '", graph_.info(node.outputs[0]).name, "' and '",
                         graph_.info(v).name, "' of node '", node.name, "' lie on two meshes"));
      }
      state.weight = std::max(state.weight, values_[v.id].weight);
    }
    for (Value v : node.inputs) {
      if (!v) continue;
      std::vector<int>& consumers = values_[v.id].consumers;
      if (consumers.empty() || consumers.back() != static_cast<int>(n)) {
        consumers.push_back(static_cast<int>(n));
      }
      if (node.op->sums_microbatches) state.weight = std::max(state.weight, values_[v.id].weight);
    }
    state.choices = cache_.Of(graph_, node, mesh, zigzag);
    for (int a = 0; a < state.choices->num_axes(); ++a) {
      state.allowed.emplace_back();
      for (int s = 0; s < state.choices->Count(a); ++s) {
        if (roles_.Allows(node, state.choices->signatures()[s], a)) state.allowed[a].push_back(s);
      }
    }
    bool nothing = false;
    for (int a = 0; a < state.choices->num_axes(); ++a) {
      nothing = nothing || (state.allowed[a].empty() && state.choices->Count(a) > 1);
    }
    if (nothing && context_.meeting != SequenceMeeting::kAuto) {
      return absl::InvalidArgumentError(
          absl::StrCat("node '", node.name,
                       "' cannot be split over the mesh's sequence axes in the way that is asked "
                       "for; leave the way open"));
    }
    state.choice = FirstChoice(state);
    if (state.choice == nullptr) {
      return absl::InternalError(absl::StrCat("node '", node.name, "' has no legal layouts"));
    }
    for (size_t k = 0; k < node.outputs.size(); ++k) {
      ValueState& value = values_[node.outputs[k].id];
      value.made = state.choice->outputs[k];
      if (!value.annotated) value.home = value.made;
    }
  }
  return absl::OkStatus();
}

// All B, or else the first that is legal of what is allowed.
const LayoutChoice* LayoutSearch::FirstChoice(NodeState& state) {
  std::vector<int> sizes;
  for (std::vector<int>& allowed : state.allowed) {
    if (allowed.empty()) allowed = {0};
    sizes.push_back(static_cast<int>(allowed.size()));
  }
  std::vector<int> at(sizes.size(), 0);
  do {
    SignatureIndices indices;
    for (size_t a = 0; a < at.size(); ++a) indices.push_back(state.allowed[a][at[a]]);
    const LayoutChoice& choice = state.choices->Get(indices, table_, context_.cost);
    if (choice.legal) return &choice;
  } while (NextCombination(at, sizes));
  return nullptr;
}

// What the host and annotated variables want.
void LayoutSearch::AddDemands() {
  for (const GraphOutput& output : graph_.outputs) {
    const ValueInfo& info = graph_.info(output.value);
    if (info.annotation) continue;
    values_[output.value.id].demands.push_back(
        table_.Intern(info.spec, /*mesh=*/0, BroadcastLayout(graph_.meshes[0])));
  }
  for (const Variable& variable : graph_.variables) {
    if (!variable.update || variable.update == variable.value) continue;
    ValueState& update = values_[variable.update.id];
    if (values_[variable.value.id].free) {
      update.updates.push_back(variable.value.id);
    } else {
      update.demands.push_back(values_[variable.value.id].home);
    }
  }
}

bool LayoutSearch::SearchAxes(const std::vector<bool>& axes, double most_entries, double most_work,
                              bool* exact) {
  Problem problem;
  if (!MakeProblem(axes, problem)) return false;
  const EliminationOrder order = OrderElimination(problem.domains, Scopes(problem), most_entries);
  if (order.work > most_work || (most_work < kNoLimit && !order.exact())) return false;
  *exact = order.exact() && problem.exact;
  Take(problem, Eliminate(Tables(problem), order, problem.incumbent));
  return true;
}

void LayoutSearch::Take(const Problem& problem, const std::vector<int>& chosen) {
  for (const int n : problem.nodes) {
    NodeState& state = nodes_[n];
    state.choice = state.domain->choices[chosen[state.variable]];
    const Node& node = graph_.nodes[n];
    for (size_t k = 0; k < node.outputs.size(); ++k) {
      ValueState& value = values_[node.outputs[k].id];
      value.made = state.choice->outputs[k];
      if (!value.annotated) value.home = value.made;
    }
  }
  for (const int v : problem.values) {
    ValueState& value = values_[v];
    value.home = value.made = value.candidates[chosen[value.variable]];
  }
}

double LayoutSearch::ValuePrice(int v, LayoutId made, std::vector<LayoutId> wants) {
  const ValueState& value = values_[v];
  const LayoutId home = value.annotated ? value.home : made;
  std::sort(wants.begin(), wants.end());
  wants.erase(std::unique(wants.begin(), wants.end()), wants.end());
  if (value.strict) {
    for (LayoutId want : wants) {
      if (table_.mesh(home) == table_.mesh(want) &&
          !IsPlainConversion(table_.layout(home), table_.layout(want), value.asked_splits,
                             value.exchanged)) {
        return kNoLimit;
      }
    }
  }
  return value.weight * (table_.Seconds(made, home) + table_.HopSeconds(home, wants));
}

double LayoutSearch::Total() {
  double total = 0;
  for (const NodeState& state : nodes_) total += state.weight * state.choice->seconds;
  for (size_t v = 0; v < values_.size(); ++v) {
    const ValueState& value = values_[v];
    std::vector<LayoutId> wants = value.demands;
    for (const int n : value.consumers) {
      const Node& node = graph_.nodes[n];
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (node.inputs[i].id == static_cast<int>(v)) wants.push_back(nodes_[n].choice->inputs[i]);
      }
    }
    for (const int u : value.updates) wants.push_back(values_[u].home);
    total += ValuePrice(static_cast<int>(v), value.made, std::move(wants));
  }
  return total;
}

std::vector<Layout> LayoutSearch::InputLayouts(int node) const {
  std::vector<Layout> layouts;
  for (LayoutId id : nodes_[node].choice->inputs) {
    layouts.push_back(id == kNoLayout ? Layout() : table_.layout(id));
  }
  return layouts;
}

}  // namespace weft
