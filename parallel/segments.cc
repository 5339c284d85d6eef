#include "parallel/segments.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "graph/layout.h"
#include "parallel/reshard_step.h"
#include "runtime/box.h"
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Most nodes of a segment. A rank launches a firing as a whole, and nothing else meanwhile.
constexpr int kMostNodes = 128;

bool IsMicrobatch(const Graph& graph, const Node& node) {
  for (Value v : node.inputs) {
    if (v && graph.info(v).rate == Rate::kMicrobatch) return true;
  }
  return false;
}

// Edges node -> node: data, what is to come after what, and from readers of a variable's old
// content to the node that replaces it.
std::vector<std::vector<int>> Predecessors(const Graph& graph) {
  std::vector<std::vector<int>> predecessors(graph.nodes.size());
  std::vector<std::vector<int>> readers(graph.values.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (Value v : graph.nodes[n].inputs) {
      if (!v) continue;
      if (graph.info(v).node >= 0) predecessors[n].push_back(graph.info(v).node);
      readers[v.id].push_back(static_cast<int>(n));
    }
    for (Value v : graph.nodes[n].after) {
      if (graph.info(v).node >= 0) predecessors[n].push_back(graph.info(v).node);
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

absl::StatusOr<StreamId> StreamOf(const Graph& graph, const Node& node) {
  if (!node.is_reshard()) return StreamId::kCompute;
  WEFT_ASSIGN_OR_RETURN(const ReshardStep step, StepOf(graph, node));
  return step.kind == ReshardStep::Kind::kLocal ? StreamId::kCompute : StreamId::kCommunication;
}

// Per node, the bytes on the mesh's first member of the per-step sums that it makes for
// conversions.
std::vector<int64_t> LeavingBytes(const Graph& graph) {
  std::vector<int64_t> leaving(graph.nodes.size(), 0);
  for (const Node& node : graph.nodes) {
    if (!node.is_reshard()) continue;
    const ValueInfo& sum = graph.info(node.inputs[0]);
    if (sum.node < 0 || sum.rate != Rate::kStep) continue;
    int maker = sum.node;
    const Node& adder = graph.nodes[maker];
    if (!adder.is_reshard() && adder.op->sums_microbatches) {
      maker = graph.info(adder.inputs[0]).node;
    }
    if (maker < 0) continue;
    const Box box = BoxOf(sum.spec.shape, sum.layout, graph.mesh(node.inputs[0]), 0);
    leaving[maker] += box.elements() * SizeOf(sum.spec.dtype);
  }
  return leaving;
}

// Whether work of the same microbatch goes on with what the conversion makes.
bool IsAwaited(const Graph& graph, const std::vector<std::vector<int>>& readers, int conversion) {
  for (Value v : graph.nodes[conversion].outputs) {
    for (int n : readers[v.id]) {
      const Node& reader = graph.nodes[n];
      if (reader.is_reshard()) {
        if (IsAwaited(graph, readers, n)) return true;
      } else if (IsMicrobatch(graph, reader) && !reader.op->sums_microbatches) {
        return true;
      }
    }
  }
  return false;
}

// Puts first what awaited conversions take, so that other work (gradients of weights) runs while
// they do; where more work of the microbatch waits for the conversion than is put off. Otherwise
// keeps the order.
class AwaitedFirst {
 public:
  AwaitedFirst(const Graph& graph, const std::vector<std::vector<int>>& predecessors)
      : graph_(graph),
        predecessors_(predecessors),
        readers_(graph.values.size()),
        needed_(graph.nodes.size(), false) {
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      for (Value v : graph.nodes[n].inputs) {
        if (v) readers_[v.id].push_back(static_cast<int>(n));
      }
    }
  }

  // `nodes`, a segment, are in an order that respects data flow.
  void Order(std::vector<int>& nodes) {
    size_t begin = 0;  // what is before has its place
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (!IsTaken(nodes[i])) continue;
      const std::vector<int> others = NotNeeded(nodes, begin, i);
      if (!others.empty() && MoreWaits(nodes[i], others.size())) {
        const auto first = nodes.begin() + static_cast<ptrdiff_t>(begin);
        const auto end = nodes.begin() + static_cast<ptrdiff_t>(i) + 1;
        const auto rest = std::stable_partition(first, end, [&](int n) { return needed_[n]; });
        begin = static_cast<size_t>(rest - nodes.begin());
      }
      for (int n : marked_) needed_[n] = false;
    }
  }

 private:
  bool IsTaken(int n) const {
    for (Value v : graph_.nodes[n].outputs) {
      for (int reader : readers_[v.id]) {
        if (graph_.nodes[reader].is_reshard() && IsAwaited(graph_, readers_, reader)) return true;
      }
    }
    return false;
  }

  // Marks what nodes[last] needs, itself included, of [begin, last]; answers the others of these.
  std::vector<int> NotNeeded(const std::vector<int>& nodes, size_t begin, size_t last) {
    std::vector<int> others;
    needed_[nodes[last]] = true;
    marked_.assign(1, nodes[last]);
    for (size_t i = last + 1; i-- > begin;) {
      if (!needed_[nodes[i]]) {
        others.push_back(nodes[i]);
        continue;
      }
      for (int p : predecessors_[nodes[i]]) {
        if (!needed_[p]) marked_.push_back(p);
        needed_[p] = true;
      }
    }
    return others;
  }

  // Whether more than `count` ops of the microbatch need what conversions make of the node's
  // results.
  bool MoreWaits(int n, size_t count) const {
    std::vector<int> found;
    std::set<int> seen;
    const auto visit = [&](int from, bool conversions_only) {
      for (Value v : graph_.nodes[from].outputs) {
        for (int reader : readers_[v.id]) {
          const Node& node = graph_.nodes[reader];
          if (conversions_only && !node.is_reshard()) continue;
          if (!node.is_reshard() && (!IsMicrobatch(graph_, node) || node.op->sums_microbatches)) {
            continue;
          }
          if (seen.insert(reader).second) found.push_back(reader);
        }
      }
    };
    visit(n, true);
    for (size_t i = 0; i < found.size() && found.size() <= 2 * count + 2; ++i) {
      visit(found[i], false);
    }
    return static_cast<size_t>(std::count_if(found.begin(), found.end(), [&](int m) {
             return !graph_.nodes[m].is_reshard();
           })) > count;
  }

  const Graph& graph_;
  const std::vector<std::vector<int>>& predecessors_;
  std::vector<std::vector<int>> readers_;  // by value
  std::vector<bool> needed_;               // by node; all false between searches
  std::vector<int> marked_;                // the needed ones
};

// Per node, the bytes on the mesh's first member of what conversions make once a step (gathered
// parameters) and no node before reads.
std::vector<int64_t> ArrivingBytes(const Graph& graph, const std::vector<int>& order) {
  std::vector<int64_t> arriving(graph.nodes.size(), 0);
  std::vector<bool> seen(graph.values.size(), false);
  for (int n : order) {
    if (graph.nodes[n].is_reshard()) continue;
    for (Value v : graph.nodes[n].inputs) {
      if (!v || seen[v.id]) continue;
      seen[v.id] = true;
      const ValueInfo& info = graph.info(v);
      if (info.node < 0 || info.rate != Rate::kStep) continue;
      if (!graph.nodes[info.node].is_reshard()) continue;
      const Box box = BoxOf(info.spec.shape, info.layout, graph.mesh(v), 0);
      arriving[n] += box.elements() * SizeOf(info.spec.dtype);
    }
  }
  return arriving;
}

}  // namespace

absl::StatusOr<std::vector<Segment>> FormSegments(const Graph& graph, int microbatches,
                                                  int64_t bucket_bytes) {
  const std::vector<std::vector<int>> predecessors = Predecessors(graph);
  const std::vector<int> order = TopologicalOrder(predecessors);
  if (order.size() != graph.nodes.size()) {
    return absl::InvalidArgumentError(
        "a variable's old content is read by an op that needs the variable's update");
  }
  const std::vector<int64_t> leaving = LeavingBytes(graph);
  const std::vector<int64_t> arriving = ArrivingBytes(graph, order);
  // Nodes that share level, stream, rate and bucket are convex: along every edge level and bucket
  // never fall, and the level climbs where stream or rate change. Conversions stand alone.
  std::vector<int> level(graph.nodes.size(), 0), bucket(graph.nodes.size(), 0);
  std::vector<StreamId> stream(graph.nodes.size());
  std::vector<bool> microbatch(graph.nodes.size());
  std::vector<int> mesh(graph.nodes.size());
  struct Filling {
    int bucket = 0;
    int64_t bytes = 0;
    int nodes = 0;
  };
  std::map<std::tuple<int, int, bool, int>, Filling> filling;  // by level, stream, per step, mesh
  std::map<std::tuple<int, int, int, bool, int, int>, Segment> segments;
  for (int n : order) {
    const Node& node = graph.nodes[n];
    WEFT_ASSIGN_OR_RETURN(stream[n], StreamOf(graph, node));
    microbatch[n] = IsMicrobatch(graph, node);
    mesh[n] = graph.info(node.outputs[0]).mesh;
    for (int p : predecessors[n]) {
      const bool cuts = stream[p] != stream[n] || microbatch[p] != microbatch[n] ||
                        mesh[p] != mesh[n] || node.is_reshard() || graph.nodes[p].is_reshard();
      if (microbatches > 1 && microbatch[n] && !graph.nodes[p].is_reshard() &&
          graph.nodes[p].op->sums_microbatches) {
        return absl::InvalidArgumentError(absl::StrCat(
            "'", node.name, "' runs in every microbatch but reads '", graph.nodes[p].name,
            "', a sum that is complete only after the last; read it in ops of the step alone"));
      }
      level[n] = std::max(level[n], level[p] + (cuts ? 1 : 0));
      bucket[n] = std::max(bucket[n], bucket[p]);
    }
    Filling& fill = filling[{level[n], static_cast<int>(stream[n]), !microbatch[n], mesh[n]}];
    bucket[n] = fill.bucket = std::max(bucket[n], fill.bucket);
    fill.bytes += leaving[n] + (microbatch[n] ? arriving[n] : 0);
    if (fill.bytes >= bucket_bytes || ++fill.nodes == kMostNodes) fill = {fill.bucket + 1, 0, 0};
    Segment& segment = segments[{level[n], bucket[n], static_cast<int>(stream[n]), !microbatch[n],
                                 mesh[n], node.is_reshard() ? n : -1}];
    segment.stream = stream[n];
    segment.microbatch = microbatch[n];
    segment.nodes.push_back(n);
  }
  std::vector<Segment> result;
  AwaitedFirst awaited_first(graph, predecessors);
  for (auto& [key, segment] : segments) {
    if (segment.microbatch) awaited_first.Order(segment.nodes);
    result.push_back(std::move(segment));
  }
  return result;
}

}  // namespace weft
