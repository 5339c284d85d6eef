#include "parallel/fuse_casts.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "graph/layout.h"
#include "parallel/remove_nodes.h"
#include "parallel/reshard_step.h"
#include "runtime/dtype.h"

namespace weft {
namespace {

class CastFuser {
 public:
  CastFuser(Graph& graph, int microbatches)
      : graph_(graph),
        microbatches_(microbatches),
        readers_(graph.values.size()),
        leaves_(graph.values.size(), false),
        gone_(graph.nodes.size(), false) {
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      for (Value v : graph.nodes[n].inputs) {
        if (v) readers_[v.id].insert(static_cast<int>(n));
      }
    }
    for (const GraphOutput& output : graph.outputs) leaves_[output.value.id] = true;
    for (const Variable& variable : graph.variables) {
      if (variable.update) leaves_[variable.update.id] = true;
    }
  }

  void Run() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (!Widens(graph_.nodes[n])) continue;
      gone_[n] = MakeWide(graph_.nodes[n]) || ReadNarrow(graph_.nodes[n]);
    }
    RemoveNodes(graph_, gone_);
  }

 private:
  // Whether the node is a cast to a wider float of something that lies as its result does.
  bool Widens(const Node& node) const {
    if (node.is_reshard() || !node.op->converts) return false;
    const ValueInfo &from = graph_.info(node.inputs[0]), &to = graph_.info(node.outputs[0]);
    return IsFloat(from.spec.dtype) && IsFloat(to.spec.dtype) &&
           SizeOf(from.spec.dtype) < SizeOf(to.spec.dtype) &&
           SameHolding(from.layout, to.layout, graph_.mesh(node.outputs[0]));
  }

  // Has the op that makes the cast's operand make the cast's result instead. False if it cannot.
  bool MakeWide(const Node& cast) {
    const Value narrow = cast.inputs[0], wide = cast.outputs[0];
    const int n = graph_.info(narrow).node;
    if (n < 0 || readers_[narrow.id].size() != 1 || leaves_[narrow.id]) return false;
    Node& maker = graph_.nodes[n];
    if (maker.is_reshard() || maker.op->wide_result.empty()) return false;
    Attrs attrs = maker.attrs;
    attrs.Set(maker.op->wide_result, std::string(Name(graph_.spec(wide).dtype)));
    const auto specs = maker.op->infer(InferContext{InputSpecs(graph_, maker), attrs});
    if (!specs.ok() || !((*specs)[0] == graph_.spec(wide))) return false;
    maker.attrs = std::move(attrs);
    maker.outputs[0] = wide;
    graph_.info(wide).node = n;
    graph_.info(narrow).node = -1;
    return true;
  }

  // Has all readers of the cast's result read its operand instead. False if one of them needs the
  // wide type.
  bool ReadNarrow(const Node& cast) {
    const Value narrow = cast.inputs[0], wide = cast.outputs[0];
    const DType dtype = graph_.spec(narrow).dtype;
    if (!MayBe(dtype, wide)) return false;
    for (int reader : readers_[wide.id]) {
      Node& node = graph_.nodes[reader];
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (!(node.inputs[i] == wide)) continue;
        node.inputs[i] = narrow;
        node.input_layouts[i] = graph_.info(narrow).layout;
      }
      readers_[narrow.id].insert(reader);
      if (node.op->sums_microbatches) graph_.info(node.outputs[0]).spec.dtype = dtype;
    }
    return true;
  }

  // Whether all that reads the value would take it in this dtype.
  bool MayBe(DType dtype, Value value) const {
    const std::set<int>& readers = readers_[value.id];
    return !leaves_[value.id] && std::all_of(readers.begin(), readers.end(), [&](int reader) {
      return Takes(graph_.nodes[reader], dtype, value);
    });
  }

  bool Takes(const Node& node, DType dtype, Value value) const {
    if (node.is_reshard()) return false;
    if (node.op->sums_microbatches) return microbatches_ == 1 && MayBe(dtype, node.outputs[0]);
    const std::vector<int>& able = node.op->takes_narrow;
    std::vector<TensorSpec> inputs = InputSpecs(graph_, node);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!(node.inputs[i] == value)) continue;
      if (std::count(able.begin(), able.end(), static_cast<int>(i)) == 0) return false;
      inputs[i].dtype = dtype;
    }
    const auto specs = node.op->infer(InferContext{inputs, node.attrs});
    return specs.ok() && *specs == OutputSpecs(graph_, node);
  }

  Graph& graph_;
  const int microbatches_;
  std::vector<std::set<int>> readers_;  // by value: nodes
  std::vector<bool> leaves_;            // by value: outputs, and what variables get
  std::vector<bool> gone_;              // by node
};

}  // namespace

absl::Status FuseCasts(Graph& graph, const PassContext& context) {
  CastFuser(graph, context.microbatches).Run();
  return absl::OkStatus();
}

}  // namespace weft
