#include "kernels/infer.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {

absl::StatusOr<Shape> BroadcastShape(const TensorSpec& a, const TensorSpec& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape shape(rank, 1);
  for (int d = 0; d < rank; ++d) {
    const int da = d - (rank - a.rank()), db = d - (rank - b.rank());
    const int64_t na = da < 0 ? 1 : a.shape[da], nb = db < 0 ? 1 : b.shape[db];
    if (na != nb && na != 1 && nb != 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          "shapes ", a.ToString(), " and ", b.ToString(), " do not broadcast: extents ", na,
          " and ", nb, " must be equal or one of them 1; reshape one of them"));
    }
    shape[d] = na == 1 ? nb : na;
  }
  return shape;
}

InferredSpecs SameSpecs(const InferContext& c) {
  for (int i = 1; i < c.num_inputs(); ++i) WEFT_RETURN_IF_ERROR(RequireSpec(c, i, c.in(0)));
  return c.Like(0);
}

InferredSpecs SameFloatSpecs(const InferContext& c) {
  WEFT_RETURN_IF_ERROR(RequireFloat(c.in(0)));
  return SameSpecs(c);
}

absl::Status RequireFloat(const TensorSpec& spec) {
  if (IsFloat(spec.dtype)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("needs f32, bf16, f16 or f64, got ", spec.ToString(), "; insert a cast"));
}

absl::Status RequireSpec(const InferContext& c, int i, const TensorSpec& want) {
  if (c.in(i) == want) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("input ", i, " is ", c.in(i).ToString(), " but must be ", want.ToString()));
}

absl::StatusOr<std::vector<int>> Axes(const std::vector<int64_t>& axes, int rank) {
  std::vector<int> dims;
  for (int64_t axis : axes) {
    const int64_t dim = axis < 0 ? axis + rank : axis;
    if (dim < 0 || dim >= rank) {
      return absl::InvalidArgumentError(
          absl::StrCat("axis ", axis, " is not a dimension of a tensor of rank ", rank));
    }
    if (std::find(dims.begin(), dims.end(), dim) != dims.end()) {
      return absl::InvalidArgumentError(absl::StrCat("axis ", axis, " is named twice"));
    }
    dims.push_back(static_cast<int>(dim));
  }
  return dims;
}

absl::StatusOr<int> CheckedAxis(const InferContext& c, const char* name) {
  WEFT_ASSIGN_OR_RETURN(std::vector<int> dims, Axes({c.attrs.Int(name)}, c.in(0).rank()));
  return dims[0];
}

absl::Status RequireExtents(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (int64_t n : shape) {
    if (n < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", ToString(absl::MakeConstSpan(shape)), " has a negative extent"));
    }
    // 2^60 elements leave room for bytes.
    if (n > 0 && elements > (int64_t{1} << 60) / n) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", ToString(absl::MakeConstSpan(shape)), " is too large"));
    }
    elements *= n;
  }
  return absl::OkStatus();
}

Cost ElementwiseCost(const CostContext& c, double flops_per_element) {
  return {.flops = flops_per_element * static_cast<double>(c.outputs[0].elements()),
          .bytes = static_cast<double>(c.bytes())};
}

FactorMap ElementwiseLinear(const LayoutContext& c, int x) {
  FactorMap map = c.Elementwise();
  map.linear.push_back({.monoid = Monoid::kSum, .inputs = {x}});
  return map;
}

}  // namespace weft
