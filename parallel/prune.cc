#include "parallel/prune.h"

#include <vector>

#include "parallel/remove_nodes.h"

namespace weft {

absl::Status Prune(Graph& graph, const PassContext&) {
  std::vector<bool> live(graph.values.size(), false);
  for (const GraphOutput& output : graph.outputs) live[output.value.id] = true;
  for (const Variable& variable : graph.variables) {
    if (variable.update) live[variable.update.id] = true;
  }
  std::vector<bool> gone(graph.nodes.size(), true);
  for (int n = static_cast<int>(graph.nodes.size()) - 1; n >= 0; --n) {
    for (Value v : graph.nodes[n].outputs) gone[n] = gone[n] && !live[v.id];
    if (gone[n]) continue;
    for (Value v : graph.nodes[n].inputs) {
      if (v) live[v.id] = true;
    }
    for (Value v : graph.nodes[n].after) live[v.id] = true;
  }
  RemoveNodes(graph, gone);
  return absl::OkStatus();
}

}  // namespace weft
