#include "launcher/plan_blocks.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"

namespace weft {
namespace {

struct Split {
  PlanPart part = PlanPart::kForward;
  std::string_view rest;  // without the part's scope
};

Split SplitName(std::string_view name) {
  constexpr std::pair<std::string_view, PlanPart> kScopes[] = {{"grad.", PlanPart::kBackward},
                                                               {"optimizer.", PlanPart::kOptimizer},
                                                               {"clip.", PlanPart::kOptimizer}};
  for (const auto& [scope, part] : kScopes) {
    if (name.substr(0, scope.size()) == scope) return {part, name.substr(scope.size())};
  }
  return {PlanPart::kForward, name};
}

bool IsNumber(std::string_view word) {
  return !word.empty() && std::all_of(word.begin(), word.end(), absl::ascii_isdigit);
}

// "layers.3" of "layers.3.mlp.einsum"; "" without a numbered scope.
std::string_view NumberedScope(std::string_view name) {
  size_t begin = 0;
  while (true) {
    const size_t dot = name.find('.', begin);
    const std::string_view word = name.substr(begin, dot - begin);
    if (begin > 0 && IsNumber(word)) return name.substr(0, begin + word.size());
    if (dot == std::string_view::npos) return {};
    begin = dot + 1;
  }
}

class PlaceFinder {
 public:
  explicit PlaceFinder(const Graph& graph) : graph_(graph) {
    places_.nodes.resize(graph.nodes.size());
    places_.values.resize(graph.values.size());
    for (size_t n = 0; n < graph.nodes.size(); ++n) node_of_[graph.nodes[n].name] = n;
  }

  PlanPlaces Run() {
    NameBlocks();
    PlaceSources();
    for (size_t n = 0; n < graph_.nodes.size(); ++n) Place(static_cast<int>(n));
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (graph_.nodes[n].is_reshard()) PlaceConversion(static_cast<int>(n));
    }
    return std::move(places_);
  }

 private:
  // Blocks in order of the forward part, so that layer 2 comes before layer 10.
  void NameBlocks() {
    bool layered = false;
    for (const Node& node : graph_.nodes) {
      layered |= !NumberedScope(SplitName(node.name).rest).empty();
    }
    if (!layered) {
      Block("model");
      before_ = after_ = 0;
      return;
    }
    before_ = Block("before the layers");
    for (const Node& node : graph_.nodes) {
      const Split split = SplitName(node.name);
      const std::string_view scope = NumberedScope(split.rest);
      if (split.part == PlanPart::kForward && !scope.empty()) Block(scope);
    }
    for (const Node& node : graph_.nodes) {  // none of these as a rule
      const std::string_view scope = NumberedScope(SplitName(node.name).rest);
      if (!scope.empty()) Block(scope);
    }
    after_ = Block("after the layers");
  }

  int Block(std::string_view name) {
    const auto [it, is_new] = block_of_.emplace(std::string(name), places_.blocks.size());
    if (is_new) places_.blocks.push_back({it->first, -1});
    return it->second;
  }

  int BlockOf(std::string_view scope) const {
    const auto found = block_of_.find(scope);
    return found == block_of_.end() ? after_ : found->second;
  }

  // Variables belong to their scope, or to the first op that takes them; inputs to the first op.
  void PlaceSources() {
    std::vector<bool> placed(graph_.values.size(), false);
    for (const Variable& variable : graph_.variables) {
      const std::string_view scope = NumberedScope(variable.name);
      if (scope.empty()) continue;
      places_.values[variable.value.id].block = BlockOf(scope);
      placed[variable.value.id] = true;
    }
    bool layers_began = false;
    for (const Node& node : graph_.nodes) {
      if (node.is_reshard()) continue;
      const Split split = SplitName(node.name);
      const std::string_view scope = NumberedScope(split.rest);
      layers_began |= split.part == PlanPart::kForward && !scope.empty();
      for (Value v : node.inputs) {
        const Value source = Source(v);
        if (!source || graph_.info(source).node >= 0 || placed[source.id]) continue;
        placed[source.id] = true;
        places_.values[source.id].block = !scope.empty() ? BlockOf(scope)
                                          : layers_began ? after_
                                                         : before_;
      }
    }
    PlaceStates();
  }

  // "embedding.m" is where "embedding" is.
  void PlaceStates() {
    std::map<std::string_view, int> block_of;
    for (const Variable& variable : graph_.variables) {
      if (variable.trainable) block_of[variable.name] = places_.values[variable.value.id].block;
    }
    for (const Variable& variable : graph_.variables) {
      const std::string_view name = variable.name;
      const auto found = block_of.find(name.substr(0, name.rfind('.')));
      if (variable.trainable || found == block_of.end()) continue;
      places_.values[variable.value.id] = {found->second, PlanPart::kOptimizer};
    }
  }

  // The value that `v` converts, through any number of conversions.
  Value Source(Value v) const {
    while (v && graph_.info(v).node >= 0 && graph_.nodes[graph_.info(v).node].is_reshard()) {
      v = graph_.nodes[graph_.info(v).node].inputs[0];
    }
    return v;
  }

  void Place(int n) {
    const Node& node = graph_.nodes[n];
    if (node.is_reshard()) return;
    const Split split = SplitName(node.name);
    const std::string_view scope = NumberedScope(split.rest);
    PlanPlace& place = places_.nodes[n];
    place.part = split.part;
    if (!scope.empty()) {
      place.block = BlockOf(scope);
      began_[static_cast<int>(split.part)] = true;
    } else if (split.part == PlanPart::kForward) {
      place.block = began_[0] ? after_ : before_;
    } else {
      place.block = OfItsVariable(node, split);
    }
    for (Value v : node.outputs) {
      places_.values[v.id] = place;
      // A forward op may make gradients too (OpDef::merges).
      places_.values[v.id].part = SplitName(graph_.info(v).name).part;
    }
  }

  // Backward and optimizer ops outside of the layers: with the variable that they are called after
  // or read; else backward runs from the end to the beginning.
  int OfItsVariable(const Node& node, const Split& split) const {
    for (Value v : node.inputs) {
      const Value source = Source(v);
      if (source && graph_.info(source).node < 0 && !IsScalar(source)) {
        return places_.values[source.id].block;
      }
    }
    if (node.inputs.size() == 1 && node.inputs[0]) {
      const Value source = Source(node.inputs[0]);
      if (graph_.info(source).node >= 0) return places_.values[source.id].block;
    }
    if (split.part == PlanPart::kOptimizer) return after_;
    return began_[static_cast<int>(PlanPart::kBackward)] ? before_ : after_;
  }

  bool IsScalar(Value v) const { return graph_.spec(v).shape.empty(); }

  void PlaceConversion(int n) {
    const Node& node = graph_.nodes[n];
    const Value source = Source(node.inputs[0]);
    const auto consumer = node_of_.find(node.reason);
    PlanPlace place = places_.values[source.id];
    if (consumer != node_of_.end()) {
      const PlanPlace& user = places_.nodes[consumer->second];
      if (graph_.info(source).node < 0) {
        place = user;
      } else if (place.part == PlanPart::kForward) {
        place.part = user.part;
      }
    }
    places_.nodes[n] = place;
    for (Value v : node.outputs) places_.values[v.id] = place;
  }

  const Graph& graph_;
  PlanPlaces places_;
  std::map<std::string_view, size_t> node_of_;
  std::map<std::string, int, std::less<>> block_of_;
  int before_ = 0, after_ = 0;
  bool began_[3] = {};  // by part: whether an op of a layer came
};

}  // namespace

PlanPlaces FindPlaces(const Graph& graph) { return PlaceFinder(graph).Run(); }

}  // namespace weft
