#include "parallel/axis_roles.h"

#include <algorithm>
#include <numeric>
#include <optional>

namespace weft {
namespace {

class Classes {
 public:
  explicit Classes(int size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), 0); }
  int Find(int x) {
    while (parent_[x] != x) x = parent_[x] = parent_[parent_[x]];
    return x;
  }
  void Join(int a, int b) { parent_[Find(a)] = Find(b); }

 private:
  std::vector<int> parent_;
};

}  // namespace

AxisRoles::AxisRoles(const Graph& graph, bool shard_states, int microbatches,
                     SequenceMeeting meeting)
    : graph_(graph), shard_states_(shard_states), microbatches_(microbatches), meeting_(meeting) {
  int dims = 0;
  beside_ring_.resize(graph.values.size());
  for (const ValueInfo& info : graph.values) {
    first_.push_back(dims);
    dims += info.spec.rank();
  }
  Classes classes(dims);
  for (const Node& node : graph.nodes) {
    const std::vector<TensorSpec> inputs = InputSpecs(graph, node);
    const std::vector<TensorSpec> outputs = OutputSpecs(graph, node);
    const FactorMap map = node.op->layout(LayoutContext{{inputs, node.attrs}, outputs});
    std::vector<int> seen(map.factors.size(), -1);
    const auto join = [&](const std::vector<std::vector<int>>& rows,
                          const std::vector<Value>& values) {
      for (size_t i = 0; i < values.size(); ++i) {
        if (!values[i]) continue;
        for (size_t d = 0; d < rows[i].size(); ++d) {
          if (rows[i][d] == kWhole) continue;
          const int dim = first_[values[i].id] + static_cast<int>(d);
          int& before = seen[rows[i][d]];
          if (before >= 0) classes.Join(before, dim);
          before = dim;
        }
      }
    };
    join(map.inputs, node.inputs);
    join(map.outputs, node.outputs);
    if (node.op->unroll != nullptr) {
      for (const auto* values : {&node.inputs, &node.outputs}) {
        for (Value v : *values) {
          if (v) beside_ring_[v.id] = true;
        }
      }
    }
    // What must be whole on both sides (the width under a norm) is one extent all the same.
    if (node.inputs.empty() || !node.inputs[0] || inputs[0].rank() != outputs[0].rank()) continue;
    for (int d = 0; d < inputs[0].rank(); ++d) {
      if (map.inputs[0][d] == kWhole && map.outputs[0][d] == kWhole &&
          inputs[0].shape[d] == outputs[0].shape[d]) {
        classes.Join(first_[node.inputs[0].id] + d, first_[node.outputs[0].id] + d);
      }
    }
  }
  for (int d = 0; d < dims; ++d) extent_.push_back(classes.Find(d));

  in_input_.resize(dims);
  in_rows_.resize(dims);
  in_sequence_.resize(dims);
  for (const GraphInput& input : graph.inputs) {
    const ValueInfo& info = graph.info(input.value);
    for (int d = 0; d < info.spec.rank(); ++d) {
      in_input_[Extent(input.value, d)] = true;
      if (info.rate != Rate::kMicrobatch) continue;
      if (d == 0) in_rows_[Extent(input.value, d)] = true;
      if (d == 1) in_sequence_[Extent(input.value, d)] = true;
    }
  }
  for (const Mesh& mesh : graph.meshes) {
    roles_.emplace_back();
    for (const Mesh::Axis& axis : mesh.axes()) {
      roles_.back().push_back(axis.name == "data"         ? Role::kData
                              : axis.name == "model"      ? Role::kModel
                              : IsSequenceAxis(axis.name) ? Role::kSequence
                                                          : Role::kFree);
    }
    annotated_.emplace_back(mesh.num_axes(), std::vector<bool>(dims));
  }
  annotated_activation_ = annotated_;
  for (size_t v = 0; v < graph.values.size(); ++v) {
    const ValueInfo& info = graph.values[v];
    if (!info.annotation) continue;
    for (size_t a = 0; a < info.annotation->size(); ++a) {
      const Sbp& sbp = (*info.annotation)[a];
      if (!sbp.is_split()) continue;
      const int extent = Extent(Value{static_cast<int>(v)}, sbp.dim());
      annotated_[info.mesh][a][extent] = true;
      if (info.rate == Rate::kMicrobatch) annotated_activation_[info.mesh][a][extent] = true;
    }
  }
  is_state_.resize(graph.values.size());
  is_variable_.resize(graph.values.size());
  for (const Variable& variable : graph.variables) {
    is_variable_[variable.value.id] = true;
    is_state_[variable.value.id] = !variable.trainable && variable.update;
  }
}

int AxisRoles::Extent(Value value, int dim) const { return extent_[first_[value.id] + dim]; }

bool AxisRoles::Splits(int extent, int mesh, int axis, bool of_weights) const {
  switch (RoleOf(mesh, axis)) {
    case Role::kFree: return true;
    case Role::kModel: return !in_input_[extent] || annotated_[mesh][axis][extent];
    case Role::kSequence: return in_sequence_[extent] || annotated_[mesh][axis][extent];
    case Role::kData:
      if (of_weights && (shard_states_ || annotated_[mesh][axis][extent])) return true;
      return in_rows_[extent] || annotated_activation_[mesh][axis][extent];
  }
  return true;
}

bool AxisRoles::Allows(const Node& node, const Signature& signature, int axis) const {
  const ValueInfo& result = graph_.info(node.outputs[0]);
  const Role role = RoleOf(result.mesh, axis);
  if (role == Role::kFree) {
    // Rings are for those who ask for them.
    return signature.turning < 0 || IsAsked(node, signature, axis);
  }
  if (signature.turning >= 0 && role != Role::kSequence) return IsAsked(node, signature, axis);
  if (role == Role::kSequence && node.op->unroll != nullptr) return MeetsSo(node, signature, axis);
  const auto activation = [this](Value v) { return v && IsActivation(v); };
  const bool of_weights = std::none_of(node.inputs.begin(), node.inputs.end(), activation) &&
                          std::none_of(node.outputs.begin(), node.outputs.end(), activation);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (!node.inputs[i] || !signature.inputs[i].is_split()) continue;
    const int extent = Extent(node.inputs[i], signature.inputs[i].dim());
    if (!Splits(extent, result.mesh, axis, of_weights)) return false;
  }
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (!signature.outputs[i].is_split()) continue;
    const int extent = Extent(node.outputs[i], signature.outputs[i].dim());
    if (!Splits(extent, result.mesh, axis, of_weights)) return false;
  }
  return true;
}

bool AxisRoles::MeetsSo(const Node& node, const Signature& signature, int axis) const {
  if (!signature.outputs[0].is_split()) return false;
  const int extent = Extent(node.outputs[0], signature.outputs[0].dim());
  const bool ring = signature.turning >= 0;
  const bool gathers = !ring && in_sequence_[extent];
  const bool heads = !in_rows_[extent] && !in_sequence_[extent];
  switch (meeting_) {
    case SequenceMeeting::kAuto: return ring || (heads && IsShared(node, signature, axis));
    case SequenceMeeting::kRing: return ring;
    case SequenceMeeting::kHeads: return heads;
    case SequenceMeeting::kGather: return gathers;
  }
  return false;
}

bool AxisRoles::IsShared(const Node& node, const Signature& signature, int axis) const {
  const TensorSpec& result = graph_.spec(node.outputs[0]);
  const int parts = graph_.mesh(node.outputs[0]).axes()[axis].size;
  if (result.shape[signature.outputs[0].dim()] < parts) return false;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const bool whole = node.inputs[i] && !signature.inputs[i].is_split();
    if (whole && graph_.spec(node.inputs[i]).rank() == result.rank()) return false;
  }
  return true;
}

bool AxisRoles::IsAsked(const Node& node, const Signature& signature, int axis) const {
  const auto asked = [&](Value v, const Sbp& sbp) {
    const std::optional<Layout>& annotation = graph_.info(v).annotation;
    return annotation && sbp.is_split() && (*annotation)[axis].is_split(sbp.dim());
  };
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (asked(node.outputs[i], signature.outputs[i])) return true;
  }
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const int maker = node.inputs[i] ? graph_.info(node.inputs[i]).node : -1;
    if (maker < 0 || graph_.nodes[maker].op->unroll == nullptr) continue;
    if (asked(node.inputs[i], signature.inputs[i])) return true;
  }
  return false;
}

uint32_t AxisRoles::ExchangedAxes(Value value) const {
  if (!beside_ring_[value.id]) return 0;
  const int mesh = graph_.info(value).mesh;
  uint32_t axes = 0;
  for (int a = 0; a < std::min(32, graph_.meshes[mesh].num_axes()); ++a) {
    if (RoleOf(mesh, a) == Role::kSequence) axes |= uint32_t{1} << a;
  }
  return axes;
}

bool AxisRoles::AllowsHome(Value value, Sbp sbp, int axis) const {
  const ValueInfo& info = graph_.info(value);
  if (RoleOf(info.mesh, axis) == Role::kFree || !sbp.is_split()) return true;
  if (RoleOf(info.mesh, axis) == Role::kData && is_variable_[value.id] && !is_state_[value.id]) {
    return shard_states_;
  }
  return Splits(Extent(value, sbp.dim()), info.mesh, axis, is_variable_[value.id]);
}

bool AxisRoles::IsActivation(Value value) const {
  const ValueInfo& info = graph_.info(value);
  if (info.rate == Rate::kStep) return false;
  if (microbatches_ > 1) return true;
  for (int d = 0; d < info.spec.rank(); ++d) {
    if (in_input_[Extent(value, d)]) return true;
  }
  return info.spec.rank() == 0;
}

uint64_t AxisRoles::AskedSplits(Value value) const {
  const ValueInfo& info = graph_.info(value);
  uint64_t asked = 0;
  for (int a = 0; a < std::min(8, graph_.meshes[info.mesh].num_axes()); ++a) {
    for (int d = 0; d < std::min(8, info.spec.rank()); ++d) {
      if (annotated_activation_[info.mesh][a][Extent(value, d)])
        asked |= uint64_t{1} << (a * 8 + d);
    }
  }
  return asked;
}

bool IsPlainConversion(const Layout& from, const Layout& to, uint64_t asked_splits,
                       uint32_t exchanged) {
  for (size_t a = 0; a < from.size(); ++a) {
    if (from[a].is_broadcast() || to[a].is_broadcast() || from[a] == to[a]) continue;
    if (a < 32 && (exchanged >> a & 1) != 0 && from[a].is_split() && to[a].is_split()) continue;
    const bool scatters = from[a].is_partial() && to[a].is_split();
    if (!scatters || a >= 8 || to[a].dim() >= 8) return false;
    if ((asked_splits >> (a * 8 + to[a].dim()) & 1) == 0) return false;
  }
  return true;
}

}  // namespace weft
