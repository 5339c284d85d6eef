// AxisRoles: what the name of a mesh axis says. An engineer who writes "data:8,model:4" has decided
// that data divides rows and model divides weights; layout search works within that, and may split
// anything over an axis of any other name.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"
#include "graph/layout.h"
#include "graph/signature.h"

namespace weft {

// How an op that meets a whole sequence (OpDef::unroll) works over a sequence axis: by whichever of
// ring and heads takes less time, in the memory of a part; or as said. kGather needs memory for all
// keys.
enum class SequenceMeeting : uint8_t { kAuto, kRing, kHeads, kGather };

// Dimensions that ops tie together are one *extent* of the model: rows, sequence, heads, width.
// They are found by following the factors of every op from dimension to dimension.
//
//   data   splits rows: the extents of the first dimensions of microbatch inputs. Variables and
//          what is made of them alone (casts, optimizers) are whole on it; with `shard_states`
//          states are split instead, and the optimizer with them (ZeRO-1, arXiv 1910.02054), and
//          parameters and their gradients may be.
//   model  splits whatever no input has: no rows, no sequence.
//   seq    (and seq_inner, seq_outer, whatever begins with seq_) splits the sequence: the extents
//   of
//          the second dimensions of microbatch inputs. Ops that meet all of it (attention) turn a
//          ring there, split something else after an exchange (heads), or gather what is met.
//
// An annotation that splits a value over an axis allows that extent there, whatever the role: of a
// variable over data, for what is made once a step alone. A pipeline's axis stage cuts the mesh and
// is an axis of none that activations lie on. Refers to the graph.
class AxisRoles {
 public:
  AxisRoles(const Graph& graph, bool shard_states, int microbatches, SequenceMeeting meeting);

  // Whether the node may take the signature on `axis` of its results' mesh.
  bool Allows(const Node& node, const Signature& signature, int axis) const;
  // Whether an input or variable without annotation may lie so on `axis` of its mesh.
  bool AllowsHome(Value value, Sbp sbp, int axis) const;
  // Whether the value is made anew for each of several microbatches, or of a microbatch's rows;
  // rather than of weights alone, as their gradients are.
  bool IsActivation(Value value) const;
  // The splits of the value that annotations of activations ask for: bit axis * 8 + dimension.
  uint64_t AskedSplits(Value value) const;
  // Axes, as bits, on which the value may be exchanged from one split to another, unasked.
  uint32_t ExchangedAxes(Value value) const;
  // Whether the variable is to be split over `axis` if it can be.
  bool MustSplit(Value value, int axis) const {
    return shard_states_ && is_state_[value.id] &&
           RoleOf(graph_.info(value).mesh, axis) == Role::kData;
  }

 private:
  enum class Role : uint8_t { kFree, kData, kModel, kSequence };

  int Extent(Value value, int dim) const;
  bool Splits(int extent, int mesh, int axis, bool of_weights) const;
  // Of an op that meets a sequence, on a sequence axis.
  bool MeetsSo(const Node& node, const Signature& signature, int axis) const;
  // Whether each of the axis' ranks gets a part of all that is as large as the result.
  bool IsShared(const Node& node, const Signature& signature, int axis) const;
  // Whether an annotation of a result, or of what another op that turns rings has made for this one,
  // splits over the axis what the signature does.
  bool IsAsked(const Node& node, const Signature& signature, int axis) const;
  Role RoleOf(int mesh, int axis) const { return roles_[mesh][axis]; }

  const Graph& graph_;
  const bool shard_states_;
  const int microbatches_;
  const SequenceMeeting meeting_;
  std::vector<std::vector<Role>> roles_;                // by mesh and axis
  std::vector<int> first_;                              // by value: index of its first dimension
  std::vector<int> extent_;                             // by dimension
  std::vector<bool> in_input_, in_rows_, in_sequence_;  // by extent
  std::vector<bool> beside_ring_;  // by value: an op that turns rings takes or makes it
  // By mesh, axis and extent: an annotation splits it so; of a value made per microbatch.
  std::vector<std::vector<std::vector<bool>>> annotated_, annotated_activation_;
  std::vector<bool> is_state_, is_variable_;  // by value
};

// Whether an activation may be converted so unasked, on one mesh: entries stay, become B or come
// from B; a partial also becomes a split that is among `asked_splits` (AxisRoles::AskedSplits), and
// on `exchanged` axes (AxisRoles::ExchangedAxes) a split another one.
bool IsPlainConversion(const Layout& from, const Layout& to, uint64_t asked_splits,
                       uint32_t exchanged);

}  // namespace weft
