#include "graph/ring_context.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "graph/derived.h"
#include "runtime/logging.h"
#include "runtime/status.h"

namespace weft {

RingContext::RingContext(Graph& graph, const OpRegistry& ops, const Node& node,
                         std::vector<int> axes)
    : graph_(graph),
      ops_(ops),
      node_(node),
      axes_(std::move(axes)),
      mesh_(graph.info(node.outputs[0]).mesh) {
  for (int a : axes_) {
    parts_ *= graph_.meshes[mesh_].axes()[a].size;
    const Sbp split = node_.input_layouts[0][a];
    zigzag_ = zigzag_ || (split.is_split() && split.order() == IndexOrder::kZigzag);
  }
  for (int m = 0; m < parts_; ++m) {
    Place place;
    int rest = m, stride = 1;
    for (size_t i = axes_.size(); i-- > 0;) {
      const int size = graph_.meshes[mesh_].axes()[axes_[i]].size;
      const int digit = rest % size;
      // One step less of the fastest axis that has taken any.
      if (digit > 0 && place.before < 0) place.before = m - stride;
      place.turns.insert(place.turns.begin(), Turn{.steps = static_cast<int16_t>(digit)});
      rest /= size;
      stride *= size;
    }
    places_.push_back(std::move(place));
  }
  ended_.resize(places_.size());
}

Value RingContext::input(int i) const {
  return i < static_cast<int>(node_.inputs.size()) ? node_.inputs[i] : Value();
}

int64_t RingContext::LocalBytes(Value value) const {
  const ValueInfo& info = graph_.info(value);
  return BoxOf(info.spec.shape, info.layout, graph_.meshes[mesh_], 0).elements() *
         SizeOf(info.spec.dtype);
}

void RingContext::LimitReach(int dim, int64_t before, int64_t after) {
  CHECK(at_.empty() && nodes_.empty());
  if (axes_.size() != 1 || zigzag_) return;
  const ValueInfo& result = graph_.info(output(0));
  for (int a = 0; a < static_cast<int>(result.layout.size()); ++a) {
    // Queries that another axis splits too are not beside the keys of their part.
    const bool other = a != axes_[0] && graph_.meshes[mesh_].axes()[a].size > 1;
    if (other && result.layout[a].is_split(dim)) return;
  }
  const Sbp split = result.layout[axes_[0]];
  CHECK(split.is_split(dim)) << node_.name;
  const int parts = graph_.meshes[mesh_].axes()[axes_[0]].size;
  const IndexSet whole({0, result.spec.shape[dim]});
  const auto anyone = [&](Turn turn) {
    for (int r = 0; r < parts; ++r) {
      if (HeldBy(whole, r, parts, Sbp::Turned(split, turn)).size() > 0) return true;
    }
    return false;
  };
  std::vector<Place> near = {places_[0]};
  for (const auto& [sign, reach] : {std::pair{-1, before}, {1, after}}) {
    for (int s = 1; s < parts && reach > 0; ++s) {
      const Turn turn{.steps = static_cast<int16_t>(sign * s),
                      .reach = static_cast<int32_t>(std::min<int64_t>(reach, whole.size()))};
      if (!anyone(turn)) break;
      near.push_back({{turn}, 0});
    }
  }
  places_ = std::move(near);
  ended_.resize(places_.size());
  wraps_ = false;
}

Layout RingContext::LayoutAt(const Layout& own, int meeting) const {
  Layout layout = own;
  for (size_t i = 0; i < axes_.size(); ++i) {
    Sbp& sbp = layout[axes_[i]];
    if (sbp.is_split()) sbp = Sbp::Turned(sbp, places_[meeting].turns[i]);
  }
  return layout;
}

Value RingContext::At(Value own, int meeting) {
  if (meeting == 0 || !own) return own;
  const auto it = at_.find({own.id, meeting});
  if (it != at_.end()) return it->second;
  const Layout layout = LayoutAt(graph_.info(own).layout, meeting);
  Value value;
  if (wraps_) {
    const int from = places_[meeting].before;
    // Parts of others are met from meeting 1 on.
    const Value after = from >= 2 ? ended_[from - 1] : start_;
    CHECK(from < 2 || ended_[from - 1]) << node_.name << ": meeting " << from - 1 << " has no end";
    value = Convert(At(own, from), layout, after, "part");
  } else {
    value = Convert(own, layout, meeting > 2 ? ended_[meeting - 2] : start_, "part");
  }
  at_[{own.id, meeting}] = value;
  return value;
}

std::string RingContext::NextName(std::string_view what) {
  return absl::StrCat(node_.name, ".", std::string(what), names_++);
}

Value RingContext::NewValue(std::string name, const TensorSpec& spec, Rate rate,
                            const Layout& layout) {
  ValueInfo info;
  info.name = std::move(name);
  info.spec = spec;
  info.mesh = mesh_;
  info.rate = rate;
  info.layout = layout;
  graph_.values.push_back(std::move(info));
  return Value{static_cast<int>(graph_.values.size()) - 1};
}

Value RingContext::Convert(Value from, const Layout& layout, Value after, std::string_view what) {
  Node node;
  node.name = NextName(what);
  node.inputs = {from};
  node.input_layouts = {graph_.info(from).layout};
  const ValueInfo source = graph_.info(from);
  if (after && source.rate == graph_.info(after).rate) node.after.push_back(after);
  node.reason = node_.name;
  node.outputs = {NewValue(node.name, source.spec, source.rate, layout)};
  nodes_.push_back(std::move(node));
  return nodes_.back().outputs[0];
}

std::vector<Value> RingContext::Emit(std::string_view op, std::vector<Value> inputs, Attrs attrs,
                                     const std::vector<Like>& like) {
  Node node;
  node.name = NextName(op);
  node.op = ops_.Find(op);
  CHECK(node.op != nullptr) << "no op " << op;
  node.inputs = std::move(inputs);
  node.attrs = std::move(attrs);
  status_.Update(CompleteAttrs(*node.op, node.attrs));
  for (Value v : node.inputs) {
    node.input_layouts.push_back(v ? graph_.info(v).layout : Layout());
  }
  const std::vector<TensorSpec> operands = InputSpecs(graph_, node);
  const auto specs = node.op->infer(InferContext{operands, node.attrs});
  status_.Update(specs.status());
  const Rate rate = DerivedRate(graph_, node);
  for (size_t i = 0; i < like.size(); ++i) {
    Layout layout = graph_.info(like[i].value).layout;
    if (like[i].meeting >= 0) layout = LayoutAt(layout, like[i].meeting);
    if (specs.ok()) MakePartial(node, operands, *specs, layout);
    const TensorSpec spec = specs.ok() ? (*specs)[i] : graph_.spec(like[i].value);
    const std::string name = DefaultResultName(node, static_cast<int>(i));
    node.outputs.push_back(NewValue(name, spec, rate, layout));
  }
  nodes_.push_back(std::move(node));
  return nodes_.back().outputs;
}

void RingContext::MakePartial(const Node& node, absl::Span<const TensorSpec> inputs,
                              absl::Span<const TensorSpec> outputs, Layout& layout) const {
  const FactorMap map = node.op->layout(LayoutContext{{inputs, node.attrs}, outputs});
  for (const Linearity& linear : map.linear) {
    for (int i : linear.inputs) {
      if (i >= static_cast<int>(node.input_layouts.size())) continue;
      const Layout& operand = node.input_layouts[i];
      for (size_t a = 0; a < operand.size(); ++a) {
        if (operand[a].is_partial() && layout[a].is_broadcast()) layout[a] = operand[a];
      }
    }
  }
}

Value RingContext::TokenOf(Value value) { return Emit1("token", {value}, {}, value); }

void RingContext::End(int meeting, Value made) {
  // The last two hold up no part.
  if (meeting > 0 && meeting + 2 < meetings()) ended_[meeting] = TokenOf(made);
}

void RingContext::StartAfter(Value value) { start_ = TokenOf(value); }

Value RingContext::Carry(Value sum, Value term, int meeting) {
  CHECK_GT(meeting, 0);
  const Layout here = graph_.info(term).layout;
  if (wraps_) return sum ? Add(Convert(sum, here, Value(), "sum"), term) : term;
  Layout own = here;
  for (int a : axes_) {
    if (own[a].is_split()) own[a] = Sbp::Turned(own[a], Turn());
  }
  const Value home = Convert(term, own, Value(), "home");
  return sum ? Add(sum, home) : home;
}

Value RingContext::Home(Value own, Value sum) {
  if (!sum) return own;
  if (wraps_) sum = Convert(sum, graph_.info(own).layout, Value(), "home");
  return Add(sum, own);
}

void RingContext::Return(int output, Value value) { returned_[output] = value; }

absl::StatusOr<std::vector<Node>> RingContext::Finish() {
  WEFT_RETURN_IF_ERROR(status_);
  // The last maker of each result makes the node's own value.
  for (size_t i = 0; i < node_.outputs.size(); ++i) {
    const auto it = returned_.find(static_cast<int>(i));
    if (it == returned_.end()) return absl::InternalError(absl::StrCat("no result ", i));
    const Value made = it->second, wanted = node_.outputs[i];
    if (!(graph_.spec(made) == graph_.spec(wanted)) ||
        graph_.info(made).layout != graph_.info(wanted).layout) {
      const Mesh& mesh = graph_.meshes[mesh_];
      return absl::InternalError(absl::StrCat("result ", i, " is ", graph_.spec(made).ToString(),
                                              " ", ToString(graph_.info(made).layout, mesh),
                                              ", not ", graph_.spec(wanted).ToString(), " ",
                                              ToString(graph_.info(wanted).layout, mesh)));
    }
    for (Node& node : nodes_) {
      for (Value& v : node.outputs) {
        if (v == made) v = wanted;
      }
      for (Value& v : node.inputs) {
        if (v == made) v = wanted;
      }
    }
  }
  return std::move(nodes_);
}

}  // namespace weft
