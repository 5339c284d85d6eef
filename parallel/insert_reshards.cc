#include "parallel/insert_reshards.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "parallel/insert_nodes.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/layout_table.h"
#include "parallel/reshard.h"
#include "parallel/reshard_cost.h"
#include "runtime/status.h"

namespace weft {
namespace {

// A use that wants a value in another layout.
struct Want {
  LayoutId layout;
  Value* slot;   // what to redirect to the converted value
  int position;  // index of the using node; the number of nodes for outputs and updates
  std::string reason;
};

class Inserter {
 public:
  Inserter(Graph& graph, const PassContext& context)
      : graph_(graph), context_(context), table_(graph.meshes, context.cost) {}

  absl::Status Run() {
    WEFT_RETURN_IF_ERROR(ExpandConversions());
    CollectWants();
    for (auto& [value, wants] : wants_) {
      WEFT_RETURN_IF_ERROR(Annotate(Convert(Value{value}, wants),
                                    absl::StrCat("converting '", graph_.values[value].name, "'")));
    }
    InsertNodes(std::move(insertions_), graph_);
    return absl::OkStatus();
  }

 private:
  // A copy of a value in some layout, with the first position that needs it.
  struct Copy {
    Value value;
    int first_use = std::numeric_limits<int>::max();
    std::string reason;
    int parent = -1;  // index among the copies
    bool moves = false;
  };

  LayoutId Home(Value v) {
    const ValueInfo& info = graph_.info(v);
    return table_.Intern(info.spec, info.mesh, info.layout);
  }

  void AddWant(Value* slot, LayoutId layout, int position, const std::string& reason) {
    if (layout != Home(*slot)) wants_[slot->id].push_back({layout, slot, position, reason});
  }

  void CollectWants() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      Node& node = graph_.nodes[n];
      if (node.is_reshard()) continue;
      const int mesh = graph_.info(node.outputs[0]).mesh;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (!node.inputs[i]) continue;
        AddWant(&node.inputs[i],
                table_.Intern(graph_.spec(node.inputs[i]), mesh, node.input_layouts[i]),
                static_cast<int>(n), node.name);
      }
    }
    const int end = static_cast<int>(graph_.nodes.size());
    for (Variable& variable : graph_.variables) {
      if (variable.update) {
        AddWant(&variable.update, Home(variable.value), end, "update of " + variable.name);
      }
    }
    for (GraphOutput& output : graph_.outputs) {
      const ValueInfo& info = graph_.info(output.value);
      if (info.annotation) continue;
      const Layout whole = BroadcastLayout(graph_.meshes[0]);
      AddWant(&output.value, table_.Intern(info.spec, /*mesh=*/0, whole), end,
              "output " + output.name);
    }
  }

  // What split states ask for: parameters, or what is made of them alone, whole for their use.
  bool GathersParameter(Value value, const ReshardStep& step) const {
    if (!context_.shard_states || !step.same_mesh()) return false;
    if (graph_.info(value).rate != Rate::kStep) return false;
    for (size_t a = 0; a < step.from.size(); ++a) {
      if (step.from[a] == step.to[a]) continue;
      const bool gathers = step.from[a].is_split() && step.to[a].is_broadcast();
      if (!gathers || step.from_mesh.axes()[a].name != "data") return false;
    }
    return true;
  }

  void Report(Value value, const ReshardStep& step, const std::string& reason) {
    if (context_.conversions == nullptr) return;
    const ValueInfo& info = graph_.info(value);
    Conversion row;
    row.value = info.name;
    row.consumer = reason;
    row.from = ToString(step.from, step.from_mesh);
    row.to = ToString(step.to, step.to_mesh);
    row.how = step.ToString();
    const std::string key = absl::StrCat(info.spec.ToString(), row.from, step.from_mesh.ToString(),
                                         row.to, step.to_mesh.ToString());
    auto [it, added] = bytes_.emplace(key, 0);
    if (added) it->second = TotalBytesSent(step, info.spec);
    row.bytes = it->second;
    row.seconds = StepSeconds(step, info.spec, context_.cost);
    row.microbatch = info.rate == Rate::kMicrobatch;
    row.asked = reason == "annotation" || GathersParameter(value, step);
    for (size_t a = 0; a < step.from.size(); ++a) {
      const bool stays = step.same_mesh() && step.to[a].is_partial();
      row.sums = row.sums || (step.from[a].is_partial() && !stays);
    }
    context_.conversions->push_back(std::move(row));
  }

  int MeshIndex(const ReshardStep& step, int from_mesh, int to_mesh) const {
    return step.to_mesh == graph_.meshes[to_mesh] ? to_mesh : from_mesh;
  }

  Value NewValue(Value original, const Layout& layout, int mesh, const std::string& name) {
    ValueInfo info = graph_.info(original);
    info.name = name;
    info.annotation.reset();
    info.layout = layout;
    info.mesh = mesh;
    graph_.values.push_back(std::move(info));
    return Value{static_cast<int>(graph_.values.size()) - 1};
  }

  Node NewNode(Value from, Value to, const std::string& name, const std::string& reason) const {
    Node node;
    node.name = name;
    node.inputs = {from};
    node.outputs = {to};
    node.input_layouts = {graph_.info(from).layout};
    node.reason = reason;
    return node;
  }

  // Annotation conversions of layout inference that take several steps.
  absl::Status ExpandConversions() {
    std::vector<NodeInsertion> between;
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      Node& node = graph_.nodes[n];
      if (!node.is_reshard()) continue;
      const Value from = node.inputs[0], to = node.outputs[0];
      WEFT_ASSIGN_OR_RETURN(
          const std::vector<ReshardStep> steps,
          PlanReshard(graph_.spec(from), graph_.info(from).layout, graph_.mesh(from),
                      graph_.info(to).layout, graph_.mesh(to), context_.cost));
      Value at = from;
      for (size_t s = 0; s < steps.size(); ++s) {
        Report(from, steps[s], node.reason);
        if (s + 1 == steps.size()) continue;
        const int mesh = MeshIndex(steps[s], graph_.info(from).mesh, graph_.info(to).mesh);
        const std::string name = ConversionName(graph_, from, steps[s].to, mesh);
        const Value next = NewValue(from, steps[s].to, mesh, name);
        between.push_back({static_cast<int>(n), NewNode(at, next, name, node.reason)});
        at = next;
      }
      node.inputs = {at};
      node.input_layouts = {graph_.info(at).layout};
    }
    InsertNodes(std::move(between), graph_);
    return absl::OkStatus();
  }

  absl::Status Convert(Value value, const std::vector<Want>& wants) {
    const LayoutId home = Home(value);
    std::vector<LayoutId> wanted;
    for (const Want& want : wants) wanted.push_back(want.layout);
    std::vector<Copy> copies = {{value, 0, "", -1, false}};
    std::map<LayoutId, int> copy_of = {{home, 0}};
    for (const LayoutTable::Hop& hop : table_.Hops(home, wanted)) {
      const auto first = std::find_if(wants.begin(), wants.end(),
                                      [&](const Want& want) { return want.layout == hop.to; });
      WEFT_RETURN_IF_ERROR(AddHop(value, hop, first->reason, copies, copy_of));
    }
    for (const Want& want : wants) {
      Copy& copy = copies[copy_of.at(want.layout)];
      copy.first_use = std::min(copy.first_use, want.position);
      *want.slot = copy.value;
    }
    Place(value, copies);
    return absl::OkStatus();
  }

  // The copies along the steps of one hop; those that are there already are shared.
  absl::Status AddHop(Value value, const LayoutTable::Hop& hop, const std::string& reason,
                      std::vector<Copy>& copies, std::map<LayoutId, int>& copy_of) {
    const int from_mesh = table_.mesh(hop.from), to_mesh = table_.mesh(hop.to);
    const TensorSpec spec = graph_.spec(value);
    WEFT_ASSIGN_OR_RETURN(
        const std::vector<ReshardStep> steps,
        PlanReshard(spec, table_.layout(hop.from), graph_.meshes[from_mesh], table_.layout(hop.to),
                    graph_.meshes[to_mesh], context_.cost));
    int at = copy_of.at(hop.from);
    for (const ReshardStep& step : steps) {
      const int mesh = MeshIndex(step, from_mesh, to_mesh);
      const LayoutId id = table_.Intern(spec, mesh, step.to);
      auto it = copy_of.find(id);
      if (it == copy_of.end()) {
        Report(value, step, reason);
        Copy copy;
        copy.value = NewValue(value, step.to, mesh, ConversionName(graph_, value, step.to, mesh));
        copy.reason = reason;
        copy.parent = at;
        copy.moves = step.kind != ReshardStep::Kind::kLocal;
        it = copy_of.emplace(id, static_cast<int>(copies.size())).first;
        copies.push_back(std::move(copy));
      }
      at = it->second;
    }
    return absl::OkStatus();
  }

  void Place(Value value, std::vector<Copy>& copies) {
    const int producer = graph_.info(value).node;
    // Children come after their parents, so one pass backwards tells parents when they are needed.
    for (size_t c = copies.size() - 1; c > 0; --c) {
      Copy& copy = copies[c];
      if (copy.moves && producer >= 0) copy.first_use = producer + 1;
      Copy& parent = copies[copy.parent];
      parent.first_use = std::min(parent.first_use, copy.first_use);
    }
    for (size_t c = 1; c < copies.size(); ++c) {
      const Copy& copy = copies[c];
      insertions_.push_back({copy.first_use, NewNode(copies[copy.parent].value, copy.value,
                                                     graph_.info(copy.value).name, copy.reason)});
    }
  }

  Graph& graph_;
  const PassContext& context_;
  LayoutTable table_;
  std::map<int, std::vector<Want>> wants_;  // by value
  std::vector<NodeInsertion> insertions_;
  std::map<std::string, int64_t> bytes_;
};

}  // namespace

absl::Status InsertReshards(Graph& graph, const PassContext& context) {
  return Inserter(graph, context).Run();
}

}  // namespace weft
