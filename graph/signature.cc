#include "graph/signature.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "runtime/logging.h"

namespace weft {
namespace {

// A way to split a factor: alone, in whole runs together with the factor that owns these, or
// together with the one that it meets.
struct Cut {
  int factor;
  int along = -1;           // split along with the factor; -1: none
  int64_t must_divide = 0;  // by the number of parts; 0: any number
  bool turns = false;       // the parts of `along` travel
  bool Splits(int id) const { return id != kWhole && (id == factor || id == along); }
};

// The operand's Sbp under a cut: S of the dimension that is split, B if none is, nothing if two are
// (a diagonal cannot be cut along one of its dimensions).
std::optional<Sbp> SplitOf(const std::vector<int>& dims, const Cut& cut, IndexOrder order) {
  std::optional<Sbp> split;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (!cut.Splits(dims[d])) continue;
    if (split) return std::nullopt;
    split = Sbp::S(static_cast<int>(d), order);
  }
  return split.value_or(Sbp::B());
}

std::optional<Signature> SplitFactor(const FactorMap& map, int addend, const Cut& cut,
                                     IndexOrder order) {
  const Factor& factor = map.factors[cut.factor];
  Signature signature{.inputs = {},
                      .outputs = {},
                      .factor = cut.factor,
                      .must_divide = cut.must_divide,
                      .turning = cut.turns ? cut.along : -1};
  for (const std::vector<int>& dims : map.inputs) {
    const std::optional<Sbp> sbp = SplitOf(dims, cut, order);
    if (!sbp) return std::nullopt;
    signature.inputs.push_back(*sbp);
  }
  for (size_t i = 0; i < map.outputs.size(); ++i) {
    const std::optional<Sbp> sbp = SplitOf(map.outputs[i], cut, order);
    if (!sbp) return std::nullopt;
    if (sbp->is_split()) {
      signature.outputs.push_back(*sbp);
      continue;
    }
    if (factor.reduce.empty()) return std::nullopt;
    CHECK(factor.reduce.size() == 1 || factor.reduce.size() == map.outputs.size());
    signature.outputs.push_back(Sbp::P(factor.reduce[factor.reduce.size() == 1 ? 0 : i]));
  }
  // A whole addend would count once for every part.
  const bool has_addend = addend >= 0 && addend < static_cast<int>(signature.inputs.size());
  if (has_addend && signature.outputs[0].is_partial()) {
    signature.inputs[addend] = signature.outputs[0];
  }
  return signature;
}

// The largest extent of an operand dimension that carries the factor; 0 if none does.
int64_t ExtentOf(const FactorMap& map, int id, absl::Span<const TensorSpec> inputs,
                 absl::Span<const TensorSpec> outputs) {
  int64_t extent = 0;
  auto scan = [&](const std::vector<std::vector<int>>& dims, absl::Span<const TensorSpec> specs) {
    for (size_t i = 0; i < dims.size(); ++i) {
      for (size_t d = 0; d < dims[i].size(); ++d) {
        if (dims[i][d] == id) extent = std::max(extent, specs[i].shape[d]);
      }
    }
  };
  scan(map.inputs, inputs);
  scan(map.outputs, outputs);
  return extent;
}

// The ways to split the factor, coarsest first; none for one without elements, or that owns runs or
// is met.
std::vector<Cut> CutsOf(const FactorMap& map, int id, absl::Span<const TensorSpec> inputs,
                        absl::Span<const TensorSpec> outputs) {
  const Factor& factor = map.factors[id];
  const bool follows =
      std::any_of(map.factors.begin(), map.factors.end(),
                  [&](const Factor& other) { return other.runs_of == id || other.meets == id; });
  const int64_t extent = ExtentOf(map, id, inputs, outputs);
  if (follows || extent == 0) return {};
  if (factor.meets >= 0) {
    CHECK_EQ(factor.must_divide, 0) << factor.name;
    CHECK_EQ(extent, ExtentOf(map, factor.meets, inputs, outputs)) << factor.name;
    return {{.factor = id, .along = factor.meets, .turns = true}, {.factor = id}};
  }
  if (factor.runs_of < 0) return {{.factor = id, .must_divide = factor.must_divide}};
  const int64_t runs = ExtentOf(map, factor.runs_of, inputs, outputs);
  CHECK_EQ(factor.must_divide, 0) << factor.name;
  CHECK(runs > 0 && extent % runs == 0) << factor.name << ": " << extent << " in " << runs;
  return {{.factor = id, .along = factor.runs_of, .must_divide = runs}, {.factor = id}};
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
    for (const Cut& cut : CutsOf(map, id, inputs, outputs)) {
      for (IndexOrder order : {IndexOrder::kContiguous, IndexOrder::kZigzag}) {
        // Zigzag chunks are half a part: a number of parts that divides does not align them.
        const bool legal = map.factors[id].zigzag && cut.must_divide == 0;
        if (order == IndexOrder::kZigzag && !legal) continue;
        if (auto signature = SplitFactor(map, op.addend, cut, order)) {
          all.push_back(*std::move(signature));
        }
      }
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
        if (per_axis[b].factor != signature.factor) continue;
        if (per_axis[b].must_divide > 0) {
          parts *= axis_sizes[b];
        } else if (b < a && axis_sizes[b] > 1) {
          return absl::InvalidArgumentError(absl::StrCat(
              "axis ", a, " splits in whole runs what axis ", b, " has split inside of them"));
        }
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
