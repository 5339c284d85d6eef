#include "parallel/insert_nodes.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft {

void InsertNodes(std::vector<NodeInsertion> insertions, Graph& graph) {
  if (insertions.empty()) return;
  std::stable_sort(
      insertions.begin(), insertions.end(),
      [](const NodeInsertion& a, const NodeInsertion& b) { return a.before < b.before; });
  std::vector<Node> nodes;
  nodes.reserve(graph.nodes.size() + insertions.size());
  size_t next = 0;
  for (size_t n = 0; n <= graph.nodes.size(); ++n) {
    while (next < insertions.size() && insertions[next].before == static_cast<int>(n)) {
      nodes.push_back(std::move(insertions[next++].node));
    }
    if (n < graph.nodes.size()) nodes.push_back(std::move(graph.nodes[n]));
  }
  graph.nodes = std::move(nodes);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const std::vector<Value>& outputs = graph.nodes[n].outputs;
    for (size_t k = 0; k < outputs.size(); ++k) {
      graph.info(outputs[k]).node = static_cast<int>(n);
      graph.info(outputs[k]).output = static_cast<int>(k);
    }
  }
}

std::string ConversionName(const Graph& graph, Value value, const Layout& layout, int mesh) {
  std::string name =
      absl::StrCat(graph.info(value).name, " as ", ToString(layout, graph.meshes[mesh]));
  if (mesh != graph.info(value).mesh) absl::StrAppend(&name, "@", graph.meshes[mesh].ToString());
  return name;
}

}  // namespace weft
