// ReshardMap: which source parts make up a target part, and who sends them. A source layout holds
// one copy of the tensor per combination of partial coordinates; a copy's boxes are disjoint, each
// held by one or more replicas. Every byte travels once per receiver.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "graph/layout.h"
#include "parallel/reshard_step.h"
#include "runtime/box.h"
#include "runtime/monoid.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Members are indices into the step's meshes. Refers to the step, which must outlive it.
class ReshardMap {
 public:
  ReshardMap(absl::Span<const int64_t> shape, const ReshardStep& step);

  // Whether one exchange can do it: the partial axes that vanish have one monoid and none is
  // outside a remaining one by another monoid.
  bool legal() const { return legal_; }
  // Whether every target part comes from its own rank.
  bool IsLocal() const;

  // Copies that combine into the target member's part; 0: it becomes the identity of FillMonoid.
  int Copies(int target) const;
  // Whether the part is made of pieces that leave gaps, to be filled with the identity: a split
  // that becomes partial keeps its own piece. Beside partials by other monoids, one such split. So
  // does a split by turns with a reach, which holds a part of the tensor only; the identity of sums
  // then, for what was computed there is a summand.
  bool pads() const { return pads_; }
  // Elements that arrive at the target member, those of its own rank included.
  int64_t Needed(int target) const;
  // Those of them that other ranks send, and in how many messages.
  int64_t Received(int target) const;
  int Messages(int target) const;
  // What the busiest source member sends to other ranks. Of a step on one mesh.
  struct Load {
    int64_t elements = 0;
    int messages = 0;
  };
  Load BusiestSender() const;
  // The monoid by which they combine.
  Monoid CombineMonoid() const { return combine_; }
  Monoid FillMonoid(int target) const;
  // Source members in the order of combination, one per copy and box that may meet the target's.
  std::vector<int> Sources(int target) const;
  // Whether `source` is among Sources(target).
  bool Feeds(int source, int target) const;
  // The source member on the target member's rank, or -1; and the inverse.
  int SourceOn(int target) const { return source_on_[target]; }

  Box SourceBox(int source) const { return BoxOf(shape_, step_.from, step_.from_mesh, source); }
  Box TargetBox(int target) const { return BoxOf(shape_, step_.to, step_.to_mesh, target); }

 private:
  // kOwn: partial and stays so, or a split that becomes partial; only the target's own coordinate
  // feeds it.
  enum class Role : uint8_t { kSplit, kReplica, kOwn, kReduced };
  using Coordinates = absl::InlinedVector<int, 4>;

  bool UniformMonoid() const;
  // The only axis that becomes partial, if all that are partial stay so; else -1.
  int LoneNewPartial() const;
  void AssignRoles();
  void CheckLegal();
  Coordinates SourceCoordinates(int source) const;
  // Of a step on one mesh: whether a source feeds only targets of its own coordinate on axis `a`.
  bool IsFixed(int a) const { return roles_[a] == Role::kReplica || roles_[a] == Role::kOwn; }
  // Dimension `d` of what a source at `at` sends, and to how many parts of the dimension.
  Load SentAlong(int d, const Coordinates& at) const;
  // Which of the copies that appear a target member holds. Counted from where the source's first
  // member is, so that summands stay on their ranks where they can.
  int Spread(int target) const;
  int SpreadIndex(int target) const;
  // Coordinates of the sender's replica (its broadcast axes) and kept axes for a target.
  void SetReplica(int target, Coordinates& coordinates) const;

  const Shape shape_;
  const ReshardStep& step_;
  absl::InlinedVector<Role, 4> roles_;      // by source axis
  absl::InlinedVector<bool, 4> is_spread_;  // by target axis: newly partial
  int reduced_ = 1;                         // copies that vanish
  int spread_ = 1;                          // copies that appear
  int first_spread_ = 0;                    // the SpreadIndex of the first of them
  int replicas_ = 1;
  bool uniform_ = false;  // all partial axes of both sides have one monoid. If so copies go
                          // to new copies round robin, else all to the first
  bool pads_ = false;
  int padded_ = -1;  // of several monoids: the split that becomes partial, of which there is one
  bool legal_ = true;
  Monoid combine_ = Monoid::kSum;
  std::vector<int> source_on_;  // by target member
};

}  // namespace weft
