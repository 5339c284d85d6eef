// Signatures: the legal ways to lay an op's operands over ONE mesh axis, derived from its factor
// map. On a mesh of several axes each axis takes one of them; CheckSignatures says which combine.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "graph/op_def.h"
#include "graph/sbp.h"

namespace weft {

// What one mesh axis does to all operands and results of an op.
struct Signature {
  std::vector<Sbp> inputs, outputs;
  int factor = -1;          // the factor that is split; -1: none is
  int64_t must_divide = 0;  // by the number of parts: of the factor, or the number of its runs
  int turning = -1;         // >= 0: a ring, and this the factor whose parts travel (Factor::meets);
                            // legal for the op as a whole, not for its kernel on the parts

  friend bool operator==(const Signature&, const Signature&) = default;
};

// All signatures of the op on these logical specs, in a fixed order: all B; each factor split (one
// with runs between these, then anywhere; one that meets another by a ring, then alone), by each
// index order it allows (contiguous alone where
// the number of parts must divide something); each linearity. A factor whose dimensions have extent
// 0 is not split. Absent optional operands have the default spec and are B. The specs and
// attributes are those of a verified graph.
std::vector<Signature> DeriveSignatures(const OpDef& op, absl::Span<const TensorSpec> inputs,
                                        absl::Span<const TensorSpec> outputs, const Attrs& attrs);

// Whether one signature per axis, with these axis sizes, is legal together: the axes that split one
// factor have a product that divides its must_divide; none cuts between a factor's runs after an
// earlier axis cut inside of them (the later parts would need runs that are elsewhere); an operand
// or result that is partial on several axes combines by one monoid. InvalidArgument naming the axis
// otherwise.
absl::Status CheckSignatures(absl::Span<const Signature> per_axis,
                             absl::Span<const int> axis_sizes);

}  // namespace weft
