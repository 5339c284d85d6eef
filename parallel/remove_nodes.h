// Removing nodes from a graph, which numbers the others anew.
#pragma once

#include <vector>

#include "graph/graph.h"

namespace weft {

// Removes the nodes marked in `gone`, one mark per node. Values that still point at a removed node
// lose their producer and stay in the table, unused.
void RemoveNodes(Graph& graph, const std::vector<bool>& gone);

}  // namespace weft
