#include "parallel/layout_choices.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

bool UsesZigzag(const Signature& signature) {
  auto any = [](const std::vector<Sbp>& sbps) {
    for (const Sbp& sbp : sbps) {
      if (sbp.is_split() && sbp.order() == IndexOrder::kZigzag) return true;
    }
    return false;
  };
  return any(signature.inputs) || any(signature.outputs);
}

}  // namespace

LayoutChoices::LayoutChoices(const Graph& graph, const Node& node, int mesh, bool zigzag)
    : op_(node.op),
      attrs_(node.attrs),
      inputs_(InputSpecs(graph, node)),
      outputs_(OutputSpecs(graph, node)),
      mesh_(mesh) {
  for (Value v : node.inputs) present_.push_back(static_cast<bool>(v));
  for (const Mesh::Axis& axis : graph.meshes[mesh].axes()) {
    sizes_.push_back(axis.size);
    axis_names_.push_back(axis.name);
  }
  for (Signature& signature : DeriveSignatures(*op_, inputs_, outputs_, attrs_)) {
    if (zigzag || !UsesZigzag(signature)) signatures_.push_back(std::move(signature));
  }
}

const LayoutChoice& LayoutChoices::Get(const SignatureIndices& indices, LayoutTable& table,
                                       const CostModel& cost) {
  uint64_t key = 0;
  for (int index : indices) key = key * signatures_.size() + static_cast<uint64_t>(index);
  std::unique_ptr<LayoutChoice>& made = made_[key];
  if (made == nullptr) made = std::make_unique<LayoutChoice>(Make(indices, table, cost));
  return *made;
}

LayoutChoice LayoutChoices::Make(const SignatureIndices& indices, LayoutTable& table,
                                 const CostModel& cost) const {
  LayoutChoice choice;
  choice.signatures = indices;
  std::vector<Signature> per_axis;
  for (int index : indices) per_axis.push_back(signatures_[index]);
  choice.legal = CheckSignatures(per_axis, sizes_).ok();
  if (!choice.legal) return choice;
  std::vector<TensorSpec> local_inputs, local_outputs;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!present_[i]) {
      choice.inputs.push_back(kNoLayout);
      local_inputs.emplace_back();
      continue;
    }
    Layout layout;
    for (const Signature& signature : per_axis) layout.push_back(signature.inputs[i]);
    choice.inputs.push_back(table.Intern(inputs_[i], mesh_, layout));
    local_inputs.push_back(table.local(choice.inputs.back()));
  }
  for (size_t i = 0; i < outputs_.size(); ++i) {
    Layout layout;
    for (const Signature& signature : per_axis) layout.push_back(signature.outputs[i]);
    choice.legal = choice.legal && (outputs_[i].dtype != DType::kBool || [&] {
                     for (const Sbp& sbp : layout) {
                       if (sbp.is_partial()) return false;
                     }
                     return true;
                   }());
    choice.outputs.push_back(table.Intern(outputs_[i], mesh_, layout));
    local_outputs.push_back(table.local(choice.outputs.back()));
  }
  choice.seconds = cost.Seconds(op_->cost(CostContext{local_inputs, local_outputs, attrs_}));
  AddMeetings(per_axis, local_inputs, local_outputs, cost, choice);
  return choice;
}

void LayoutChoices::AddMeetings(const std::vector<Signature>& per_axis,
                                const std::vector<TensorSpec>& inputs,
                                const std::vector<TensorSpec>& outputs, const CostModel& cost,
                                LayoutChoice& choice) const {
  const auto ring = std::find_if(per_axis.begin(), per_axis.end(),
                                 [](const Signature& s) { return s.turning >= 0; });
  if (ring == per_axis.end()) return;
  const FactorMap map = op_->layout(LayoutContext{{inputs_, attrs_}, outputs_});
  int64_t bytes = 0;
  const auto add = [&](const std::vector<std::vector<int>>& dims,
                       const std::vector<TensorSpec>& specs) {
    for (size_t i = 0; i < specs.size(); ++i) {
      if (std::count(dims[i].begin(), dims[i].end(), ring->turning) > 0) bytes += specs[i].bytes();
    }
  };
  add(map.inputs, inputs);
  add(map.outputs, outputs);
  int meetings = 1;
  LinkCost link = cost.link();
  for (size_t a = 0; a < per_axis.size(); ++a) {
    if (per_axis[a].turning < 0 || sizes_[a] == 1) continue;
    meetings *= sizes_[a];
    link = cost.LinkOf(axis_names_[a], sizes_[a]);
  }
  choice.seconds += (meetings - 1) * std::max(choice.seconds, link.Seconds(bytes, 1));
}

LayoutChoices* LayoutChoicesCache::Of(const Graph& graph, const Node& node, int mesh, bool zigzag) {
  std::string key = absl::StrCat(node.op->name, "@", mesh);
  for (Value v : node.inputs) {
    absl::StrAppend(&key, ";", v ? graph.spec(v).ToString() : "none");
  }
  for (Value v : node.outputs) absl::StrAppend(&key, ">", graph.spec(v).ToString());
  absl::StrAppend(&key, node.attrs.ToString());
  std::unique_ptr<LayoutChoices>& choices = choices_[key];
  if (choices == nullptr) choices = std::make_unique<LayoutChoices>(graph, node, mesh, zigzag);
  return choices.get();
}

}  // namespace weft
