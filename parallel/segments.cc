#include "parallel/segments.h"

#include <algorithm>
#include <functional>
#include <map>
#include <tuple>

namespace weft {
namespace {

bool IsMicrobatch(const Graph& graph, const Node& node) {
  for (Value v : node.inputs) {
    if (v && graph.info(v).rate == Rate::kMicrobatch) return true;
  }
  return false;
}

// Edges node -> node: data, and from readers of a variable's old content to the node that replaces
// it.
std::vector<std::vector<int>> Predecessors(const Graph& graph) {
  std::vector<std::vector<int>> predecessors(graph.nodes.size());
  std::vector<std::vector<int>> readers(graph.values.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (Value v : graph.nodes[n].inputs) {
      if (!v) continue;
      if (graph.info(v).node >= 0) predecessors[n].push_back(graph.info(v).node);
      readers[v.id].push_back(static_cast<int>(n));
    }
  }
  for (const Variable& variable : graph.variables) {
    if (!variable.update || graph.info(variable.update).node < 0) continue;
    const int writer = graph.info(variable.update).node;
    for (int reader : readers[variable.value.id]) {
      if (reader != writer) predecessors[writer].push_back(reader);
    }
  }
  return predecessors;
}

// Kahn's algorithm, smallest index first: stays close to the order in which the graph was written.
std::vector<int> TopologicalOrder(const std::vector<std::vector<int>>& predecessors) {
  const int n = static_cast<int>(predecessors.size());
  std::vector<std::vector<int>> successors(n);
  std::vector<int> missing(n, 0);
  for (int i = 0; i < n; ++i) {
    missing[i] = static_cast<int>(predecessors[i].size());
    for (int p : predecessors[i]) successors[p].push_back(i);
  }
  std::vector<int> heap, order;
  const auto push = [&](int i) {
    heap.push_back(i);
    std::push_heap(heap.begin(), heap.end(), std::greater<int>());
  };
  for (int i = 0; i < n; ++i) {
    if (missing[i] == 0) push(i);
  }
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<int>());
    const int i = heap.back();
    heap.pop_back();
    order.push_back(i);
    for (int s : successors[i]) {
      if (--missing[s] == 0) push(s);
    }
  }
  return order;
}

}  // namespace

absl::StatusOr<std::vector<Segment>> FormSegments(const Graph& graph) {
  const std::vector<std::vector<int>> predecessors = Predecessors(graph);
  const std::vector<int> order = TopologicalOrder(predecessors);
  if (order.size() != graph.nodes.size()) {
    return absl::InvalidArgumentError(
        "a variable's old content is read by an op that needs the variable's update");
  }
  std::vector<int> level(graph.nodes.size(), 0);
  std::vector<StreamId> stream(graph.nodes.size());
  std::vector<bool> microbatch(graph.nodes.size());
  // (level, stream, rate): every edge that changes stream or rate climbs a level, so nodes that
  // share all three are convex. Conversions stand alone.
  std::map<std::tuple<int, int, bool, int>, Segment> segments;
  for (int n : order) {
    const Node& node = graph.nodes[n];
    stream[n] = node.is_reshard() ? StreamId::kCommunication : StreamId::kCompute;
    microbatch[n] = IsMicrobatch(graph, node);
    for (int p : predecessors[n]) {
      const bool cuts =
          stream[p] != stream[n] || microbatch[p] != microbatch[n] || node.is_reshard();
      level[n] = std::max(level[n], level[p] + (cuts ? 1 : 0));
    }
    Segment& segment = segments[{level[n], static_cast<int>(stream[n]), !microbatch[n],
                                 node.is_reshard() ? n : -1}];
    segment.stream = stream[n];
    segment.microbatch = microbatch[n];
    segment.nodes.push_back(n);
  }
  std::vector<Segment> result;
  for (auto& [key, segment] : segments) result.push_back(std::move(segment));
  return result;
}

}  // namespace weft
