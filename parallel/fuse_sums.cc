#include "parallel/fuse_sums.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "graph/layout.h"
#include "parallel/remove_nodes.h"
#include "parallel/reshard_step.h"

namespace weft {
namespace {

class SumFuser {
 public:
  explicit SumFuser(Graph& graph) : graph_(graph), uses_(graph.values.size(), 0) {
    const auto use = [this](Value v) {
      if (v) ++uses_[v.id];
    };
    for (const Node& node : graph.nodes) {
      for (Value v : node.inputs) use(v);
    }
    for (const GraphOutput& output : graph.outputs) use(output.value);
    for (const Variable& variable : graph.variables) {
      use(variable.update);
      if (variable.update) updates_.insert(variable.update.id);
    }
  }

  void Run() {
    gone_.assign(graph_.nodes.size(), false);
    waits_.assign(graph_.nodes.size(), 0);
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      Node& node = graph_.nodes[n];
      if (!node.is_reshard() && node.op->sums_operands && node.inputs.size() > 1) FuseSum(n);
      for (Value v : node.inputs) waits_[n] = std::max(waits_[n], WaitsFor(v));
    }
    RemoveNodes(graph_, gone_);
  }

 private:
  int NodeOf(Value v) const { return graph_.info(v).node; }

  // How many conversions, one after another, a reader of the value waits for.
  int WaitsFor(Value v) const {
    const int n = v ? NodeOf(v) : -1;
    return n < 0 ? 0 : waits_[n] + (graph_.nodes[n].is_reshard() ? 1 : 0);
  }

  bool LieAlike(Value a, Value b) const {
    const ValueInfo &x = graph_.info(a), &y = graph_.info(b);
    return x.spec == y.spec && x.mesh == y.mesh && SameHolding(x.layout, y.layout, graph_.mesh(a));
  }

  // Whether the op that makes the value can add something that lies as the sum does.
  bool CanAdd(Value product, Value sum) const {
    const ValueInfo& info = graph_.info(product);
    if (info.node < 0 || info.output != 0 || uses_[product.id] != 1) return false;
    const Node& node = graph_.nodes[info.node];
    if (node.is_reshard() || node.op->addend < 0) return false;
    // An update comes after all that reads the variable, which may need another output of the op.
    if (updates_.contains(sum.id) && node.outputs.size() > 1) return false;
    const auto addend = static_cast<size_t>(node.op->addend);
    const bool free = addend >= node.inputs.size() || !node.inputs[addend];
    return free && info.rate == graph_.info(sum).rate && LieAlike(product, sum);
  }

  // Whether the term is there when the product's op runs.
  bool ComesBefore(Value term, Value product) const {
    return NodeOf(term) < NodeOf(product) && WaitsFor(term) <= waits_[NodeOf(product)];
  }

  // The products take one other term each, the first to be made first, so that each may add what
  // the one before has added up.
  void FuseSum(size_t n) {
    Node& sum = graph_.nodes[n];
    const Value result = sum.outputs[0];
    std::vector<Value> products = sum.inputs;
    std::stable_sort(products.begin(), products.end(),
                     [this](Value a, Value b) { return NodeOf(a) < NodeOf(b); });
    for (Value product : products) {
      if (!CanAdd(product, result)) continue;
      for (size_t i = 0; i < sum.inputs.size(); ++i) {
        const Value term = sum.inputs[i];
        if (term == product || !LieAlike(term, result) || !ComesBefore(term, product)) continue;
        SetAddend(graph_.nodes[NodeOf(product)], term);
        sum.inputs.erase(sum.inputs.begin() + static_cast<ptrdiff_t>(i));
        sum.input_layouts.erase(sum.input_layouts.begin() + static_cast<ptrdiff_t>(i));
        break;
      }
    }
    if (sum.inputs.size() == 1) TakeOver(n);
  }

  void SetAddend(Node& node, Value term) {
    const auto addend = static_cast<size_t>(node.op->addend);
    if (node.inputs.size() <= addend) {
      node.inputs.resize(addend + 1);
      node.input_layouts.resize(addend + 1);
    }
    node.inputs[addend] = term;
    node.input_layouts[addend] = graph_.info(term).layout;
  }

  // The one term that is left is the sum: its op makes the sum's result instead.
  void TakeOver(size_t n) {
    const Value product = graph_.nodes[n].inputs[0], result = graph_.nodes[n].outputs[0];
    const int maker = NodeOf(product);
    graph_.nodes[maker].outputs[0] = result;
    graph_.info(result).node = maker;
    graph_.info(result).output = 0;
    graph_.info(product).node = -1;
    gone_[n] = true;
  }

  Graph& graph_;
  std::vector<int> uses_;   // by value
  std::set<int> updates_;   // values that variables get
  std::vector<int> waits_;  // by node: conversions that it waits for, one after another
  std::vector<bool> gone_;  // by node
};

}  // namespace

absl::Status FuseSums(Graph& graph, const PassContext&) {
  SumFuser(graph).Run();
  return absl::OkStatus();
}

}  // namespace weft
