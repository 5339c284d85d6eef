#include "parallel/infer_layouts.h"

#include <utility>

#include "parallel/insert_nodes.h"
#include "parallel/layout_search.h"
#include "runtime/status.h"

namespace weft {

absl::Status InferLayouts(Graph& graph, const PassContext& context) {
  LayoutSearch search(graph, context);
  WEFT_RETURN_IF_ERROR(search.Run());
  if (context.certificate != nullptr) *context.certificate = search.certificate();
  const int nodes = static_cast<int>(graph.nodes.size());
  const int values = static_cast<int>(graph.values.size());
  for (int n = 0; n < nodes; ++n) graph.nodes[n].input_layouts = search.InputLayouts(n);
  std::vector<NodeInsertion> insertions;
  for (int v = 0; v < values; ++v) {
    graph.values[v].layout = search.Kept(Value{v});
    const int n = graph.values[v].node;
    if (n < 0 || search.Made(Value{v}) == search.Kept(Value{v})) continue;
    // The op makes a new value; a conversion makes the annotated one of it.
    ValueInfo info = graph.values[v];
    info.layout = search.Made(Value{v});
    info.annotation.reset();
    info.name = ConversionName(graph, Value{v}, info.layout, info.mesh);
    const Value made{static_cast<int>(graph.values.size())};
    graph.nodes[n].outputs[info.output] = made;
    Node conversion;
    conversion.name = ConversionName(graph, Value{v}, graph.values[v].layout, info.mesh);
    conversion.inputs = {made};
    conversion.outputs = {Value{v}};
    conversion.input_layouts = {info.layout};
    conversion.reason = "annotation";
    graph.values.push_back(std::move(info));
    insertions.push_back({n + 1, std::move(conversion)});
  }
  InsertNodes(std::move(insertions), graph);
  return absl::OkStatus();
}

}  // namespace weft
