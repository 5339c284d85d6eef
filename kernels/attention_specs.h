// What the definitions of attention, its blocks and their gradients share: checks of operands,
// factors, costs. Operands: q [batch,s,heads,d], k [batch,t,kv_heads,d], v [batch,t,kv_heads,dv],
// o [batch,s,heads,dv], statistics of rows [batch,s,heads].
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "graph/op_def.h"
#include "kernels/wide_row.h"
#include "runtime/attrs.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Attributes of all of them: causal (a query sees no key behind it); window (keys less than so many
// positions away, 0: all); scale (of q k', 0: 1/sqrt(d)).
std::map<std::string, Attr> AttentionAttrs();

// Whether optional operand `i` is there.
bool IsGiven(const InferContext& c, int i);

// Checks q, k, v, which start at input `first`, and attributes; the spec of o.
absl::StatusOr<TensorSpec> CheckHeads(const InferContext& c, std::string_view op, int first);
// Checks optional operand `i`, the key positions [begin, end) that each row of q sees.
absl::Status CheckVisible(const InferContext& c, int i, const TensorSpec& o);
// Error unless operand `i`, named `name`, is absent or has this spec.
absl::Status CheckIfGiven(const InferContext& c, int i, std::string_view name,
                          const TensorSpec& want);

inline TensorSpec WideSpec(const TensorSpec& x) { return {x.shape, WideDType(x.dtype)}; }
inline TensorSpec StatisticsOf(const TensorSpec& o) {
  return {{o.shape[0], o.shape[1], o.shape[2]}, WideDType(o.dtype)};
}

// The dtype of attention_block's o, of operands in `operands`: attribute dtype, or the wide one.
DType BlockResultDType(const Attrs& attrs, DType operands);

// Factors of the operands by what they are. Heads go with their key heads where whole groups stay
// together, else with all key heads on every rank, results without query heads then being sums over
// the ranks' ones. The sequence, where queries and keys are one, is split of both by a ring, or of
// queries alone beside all keys, results without queries then being sums likewise.
struct AttentionFactors {
  struct Options {
    bool sums = true;    // whether results may be sums over heads
    bool meets = false;  // whether the sequence may be split: not at one meeting of a ring
  };
  // `q`: the input with q; k follows.
  AttentionFactors(const LayoutContext& c, int q, Options options);
  // The same dimensions, or none if the optional operand is absent.
  std::vector<int> IfGiven(const LayoutContext& c, int i, const std::vector<int>& dims) const;

  FactorMap map;  // factors only
  std::vector<int> rows, statistics, kv_rows, visible;
};

// Share of all pairs of queries and keys, `t` of them, that the masks leave.
double SeenShare(const Attrs& attrs, double t);
// Of `products` products a pair, of which `share` count.
Cost AttentionCost(const CostContext& c, int q, double products, double share);

}  // namespace weft
