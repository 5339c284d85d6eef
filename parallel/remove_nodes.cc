#include "parallel/remove_nodes.h"

#include <utility>

namespace weft {

void RemoveNodes(Graph& graph, const std::vector<bool>& gone) {
  std::vector<int> moved(graph.nodes.size(), -1);
  std::vector<Node> kept;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    if (gone[n]) continue;
    moved[n] = static_cast<int>(kept.size());
    kept.push_back(std::move(graph.nodes[n]));
  }
  graph.nodes = std::move(kept);
  for (ValueInfo& info : graph.values) {
    if (info.node >= 0) info.node = moved[info.node];
  }
}

}  // namespace weft
