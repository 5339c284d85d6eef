// RingContext: what an op's unroll function sees. The op's operands are split over one or several
// mesh axes (rings), and each rank's part has to meet all parts of what is *met* (Factor::meets):
// keys and values travel past the queries, or queries past keys and values. A function says what
// happens at one meeting; where parts lie, which messages move them and what they wait for is known
// here. After Ring Self-Attention (arXiv 2105.13120) and Ring Attention (arXiv 2310.01889, section
// 3).
//
// At meeting m of P, the rank at coordinate r has part r + m (modulo P) of what travels: meeting 0
// is that of its own parts. Over several axes the last turns fastest (an inner ring within each
// step of the outer one).
//
// What only meets what is near (a window, over one axis with contiguous parts that no other axis
// splits further) needs no ring: parts
// that lie within reach come straight from their ranks, and only what is within reach of them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"

namespace weft {

class RingContext {
 public:
  // Of `node`, the ring axes of whose mesh are `axes`, in mesh order. Refers to the graph, and adds
  // values to it; nodes are collected.
  RingContext(Graph& graph, const OpRegistry& ops, const Node& node, std::vector<int> axes);

  const Attrs& attrs() const { return node_.attrs; }
  // Operands (Value() if absent) and results of the node that is unrolled.
  Value input(int i) const;
  Value output(int i) const { return node_.outputs[i]; }
  TensorSpec spec(Value value) const { return graph_.spec(value); }
  // Whether parts are zigzag: then causal meetings cost all ranks the same.
  bool zigzag() const { return zigzag_; }
  // Number of parts, all rings together.
  int parts() const { return parts_; }
  // Bytes on one rank of a value of the node.
  int64_t LocalBytes(Value value) const;

  // Says that an index meets those that are at most `before` before it and `after` after it along
  // dimension `dim` of the node's result 0; to be called first, if at all.
  void LimitReach(int dim, int64_t before, int64_t after);
  // Number of meetings.
  int meetings() const { return static_cast<int>(places_.size()); }

  // What lies as the rank's own part, as it is at a meeting. Later meetings' parts come from those
  // of earlier ones, and do not come before the meeting two before theirs is over: two parts of
  // others are held at most, one that is met and one that arrives, and one more for each outer ring.
  Value At(Value own, int meeting);
  // How a result lies: as a value does, or as it would at a meeting.
  struct Like {
    Like(Value as) : value(as) {}  // NOLINT: a value lies as itself
    Like(Value own, int at) : value(own), meeting(at) {}
    Value value;
    int meeting = -1;  // -1: as it lies
  };
  // The ops of one meeting, and how their results lie, one each: as results of the node do, which
  // may be partial where operands are not. Partial operands of ops that are linear in them make
  // partial results. Operands must lie as they are taken.
  std::vector<Value> Emit(std::string_view op, std::vector<Value> inputs, Attrs attrs,
                          const std::vector<Like>& like);
  Value Emit1(std::string_view op, std::vector<Value> inputs, Attrs attrs, Like like) {
    return Emit(op, std::move(inputs), std::move(attrs), {like})[0];
  }
  // Says that `made` is the last that a meeting makes, sums that travel included: else terms could
  // wait for these without bound.
  void End(int meeting, Value made);
  // No part is sent before this value is there: else a backward pass's parts would be sent, and
  // held, from the end of the forward pass on.
  void StartAfter(Value value);

  // What meetings give for the parts that are there adds up, and comes home to whose they are:
  // `sum` (Value() at meeting 1), carried on from the meeting before, and `term`, which lies as
  // At(., meeting) does, of meetings from 1 on.
  Value Carry(Value sum, Value term, int meeting);
  // `own`, of meeting 0, and what comes home of the last meeting's sum (Value() if there was none).
  // It lies as the rank's own part.
  Value Home(Value own, Value sum);
  // Makes `value` the node's result.
  void Return(int output, Value value);

  // The nodes that take the place of the node, or the first error.
  absl::StatusOr<std::vector<Node>> Finish();

 private:
  struct Place {
    std::vector<Turn> turns;  // by ring axis
    int before = -1;          // the meeting from whose parts those of this one come
  };

  Layout LayoutAt(const Layout& own, int meeting) const;
  std::string NextName(std::string_view what);
  Value NewValue(std::string name, const TensorSpec& spec, Rate rate, const Layout& layout);
  // A conversion of `from` to `layout` that starts after `after`, if that is a value.
  Value Convert(Value from, const Layout& layout, Value after, std::string_view what);
  // Where an operand that the op is linear in is partial, so is the result.
  void MakePartial(const Node& node, absl::Span<const TensorSpec> inputs,
                   absl::Span<const TensorSpec> outputs, Layout& layout) const;
  // Says that `value` is made, in no bytes.
  Value TokenOf(Value value);
  Value Add(Value a, Value b) { return Emit1("add", {a, b}, {}, b); }

  Graph& graph_;
  const OpRegistry& ops_;
  const Node node_;
  const std::vector<int> axes_;
  const int mesh_;
  int parts_ = 1;
  bool zigzag_ = false;
  bool wraps_ = true;  // a ring, rather than neighbours within reach
  std::vector<Place> places_;
  std::vector<Value> ended_;                 // by meeting: its token, or Value()
  Value start_;                              // a token, or Value()
  std::map<std::pair<int, int>, Value> at_;  // by value and meeting
  std::map<int, Value> returned_;            // by output
  std::vector<Node> nodes_;
  int names_ = 0;
  absl::Status status_;
};

}  // namespace weft
