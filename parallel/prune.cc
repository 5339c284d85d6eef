#include "parallel/prune.h"

#include <utility>

namespace weft {

absl::Status Prune(Graph& graph, const PassContext&) {
  std::vector<bool> live(graph.values.size(), false);
  for (const GraphOutput& output : graph.outputs) live[output.value.id] = true;
  for (const Variable& variable : graph.variables) {
    if (variable.update) live[variable.update.id] = true;
  }
  std::vector<bool> keep(graph.nodes.size(), false);
  for (int n = static_cast<int>(graph.nodes.size()) - 1; n >= 0; --n) {
    for (Value v : graph.nodes[n].outputs) keep[n] = keep[n] || live[v.id];
    if (!keep[n]) continue;
    for (Value v : graph.nodes[n].inputs) {
      if (v) live[v.id] = true;
    }
  }
  std::vector<Node> kept;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const int index = keep[n] ? static_cast<int>(kept.size()) : -1;
    for (Value v : graph.nodes[n].outputs) graph.info(v).node = index;
    if (keep[n]) kept.push_back(std::move(graph.nodes[n]));
  }
  graph.nodes = std::move(kept);
  return absl::OkStatus();
}

}  // namespace weft
