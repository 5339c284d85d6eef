// Adding many nodes to a graph at once, keeping definitions before uses.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"

namespace weft {

struct NodeInsertion {
  int before = 0;  // the index of the node in front of which it goes; nodes.size(): at the end
  Node node;
};

// Inserts all; those with one place keep their order. Updates ValueInfo::node and output of all
// results. Linear in the size of the graph.
void InsertNodes(std::vector<NodeInsertion> insertions, Graph& graph);

// "x as [data:B]", with "@mesh" where the mesh is not the value's own: the name of a conversion and
// of its result.
std::string ConversionName(const Graph& graph, Value value, const Layout& layout, int mesh);

}  // namespace weft
