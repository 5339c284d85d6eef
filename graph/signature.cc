#include "graph/signature.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "runtime/logging.h"

namespace weft {
namespace {

// The operand's Sbp when `factor` is split: S of the dimension that carries it, B if none does,
// nothing if two do (a diagonal cannot be cut along one of its dimensions).
std::optional<Sbp> SplitOf(const std::vector<int>& dims, int factor, IndexOrder order) {
  const auto count = std::count(dims.begin(), dims.end(), factor);
  if (count == 0) return Sbp::B();
  if (count > 1) return std::nullopt;
  const auto dim = std::find(dims.begin(), dims.end(), factor) - dims.begin();
  return Sbp::S(static_cast<int>(dim), order);
}

std::optional<Signature> SplitFactor(const FactorMap& map, int id, IndexOrder order) {
  const Factor& factor = map.factors[id];
  Signature signature{.inputs = {}, .outputs = {}, .factor = id, .must_divide = factor.must_divide};
  for (const std::vector<int>& dims : map.inputs) {
    const std::optional<Sbp> sbp = SplitOf(dims, id, order);
    if (!sbp) return std::nullopt;
    signature.inputs.push_back(*sbp);
  }
  for (size_t i = 0; i < map.outputs.size(); ++i) {
    const std::optional<Sbp> sbp = SplitOf(map.outputs[i], id, order);
    if (!sbp) return std::nullopt;
    if (sbp->is_split()) {
      signature.outputs.push_back(*sbp);
      continue;
    }
    if (factor.reduce.empty()) return std::nullopt;
    CHECK(factor.reduce.size() == 1 || factor.reduce.size() == map.outputs.size());
    signature.outputs.push_back(Sbp::P(factor.reduce[factor.reduce.size() == 1 ? 0 : i]));
  }
  return signature;
}

// Whether some operand dimension that carries the factor has elements to split.
bool HasElements(const FactorMap& map, int id, absl::Span<const TensorSpec> inputs,
                 absl::Span<const TensorSpec> outputs) {
  auto any = [&](const std::vector<std::vector<int>>& dims, absl::Span<const TensorSpec> specs) {
    for (size_t i = 0; i < dims.size(); ++i) {
      for (size_t d = 0; d < dims[i].size(); ++d) {
        if (dims[i][d] == id && specs[i].shape[d] > 0) return true;
      }
    }
    return false;
  };
  return any(map.inputs, inputs) || any(map.outputs, outputs);
}

}  // namespace

std::vector<Signature> DeriveSignatures(const OpDef& op, absl::Span<const TensorSpec> inputs,
                                        absl::Span<const TensorSpec> outputs, const Attrs& attrs) {
  const FactorMap map = op.layout(LayoutContext{{inputs, attrs}, outputs});
  CHECK_EQ(map.inputs.size(), inputs.size()) << op.name;
  CHECK_EQ(map.outputs.size(), outputs.size()) << op.name;
  std::vector<Signature> all;
  all.push_back({.inputs = std::vector<Sbp>(inputs.size(), Sbp::B()),
                 .outputs = std::vector<Sbp>(outputs.size(), Sbp::B())});
  for (int id = 0; id < static_cast<int>(map.factors.size()); ++id) {
    if (!HasElements(map, id, inputs, outputs)) continue;
    for (IndexOrder order : {IndexOrder::kContiguous, IndexOrder::kZigzag}) {
      const Factor& factor = map.factors[id];
      // Zigzag chunks are half a part: a number of parts that divides does not align them.
      if (order == IndexOrder::kZigzag && (!factor.zigzag || factor.must_divide > 0)) continue;
      if (auto signature = SplitFactor(map, id, order)) all.push_back(*std::move(signature));
    }
  }
  for (const Linearity& linear : map.linear) {
    Signature signature{.inputs = std::vector<Sbp>(inputs.size(), Sbp::B()),
                        .outputs = std::vector<Sbp>(outputs.size(), Sbp::P(linear.monoid))};
    for (int i : linear.inputs) signature.inputs[i] = Sbp::P(linear.monoid);
    all.push_back(std::move(signature));
  }
  return all;
}

absl::Status CheckSignatures(absl::Span<const Signature> per_axis,
                             absl::Span<const int> axis_sizes) {
  CHECK_EQ(per_axis.size(), axis_sizes.size());
  for (size_t a = 0; a < per_axis.size(); ++a) {
    const Signature& signature = per_axis[a];
    if (signature.must_divide > 0) {
      int64_t parts = 1;
      for (size_t b = 0; b < per_axis.size(); ++b) {
        if (per_axis[b].factor == signature.factor) parts *= axis_sizes[b];
      }
      if (signature.must_divide % parts != 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("axis ", a, ": ", parts, " parts do not divide ", signature.must_divide));
      }
    }
    for (size_t b = 0; b < a; ++b) {
      auto clash = [&](const std::vector<Sbp>& x, const std::vector<Sbp>& y) {
        for (size_t i = 0; i < x.size(); ++i) {
          if (x[i].is_partial() && y[i].is_partial() && x[i].monoid() != y[i].monoid()) return true;
        }
        return false;
      };
      if (clash(signature.inputs, per_axis[b].inputs) ||
          clash(signature.outputs, per_axis[b].outputs)) {
        return absl::InvalidArgumentError(
            absl::StrCat("axes ", b, " and ", a, " leave an operand partial by two monoids"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace weft
