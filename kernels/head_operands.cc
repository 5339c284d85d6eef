#include "kernels/head_operands.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/infer.h"
#include "runtime/status.h"

namespace weft {

absl::StatusOr<TensorSpec> CheckHead(const InferContext& c, std::string_view op) {
  const TensorSpec &x = c.in(0), &w = c.in(1), &targets = c.in(2);
  WEFT_RETURN_IF_ERROR(RequireFloat(x));
  const bool shapes =
      x.rank() >= 1 && w.rank() == 2 && w.dtype == x.dtype && w.shape[1] == x.shape.back();
  TensorSpec rows{x.shape, WideDType(x.dtype)};
  if (shapes) rows.shape.pop_back();
  if (!shapes || targets != TensorSpec{rows.shape, DType::kI32}) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(op), " needs x [batch,sequence,hidden], w [vocab,hidden] of the ",
                     "same dtype and i32 targets [batch,sequence], got ", x.ToString(), ", ",
                     w.ToString(), " and ", targets.ToString()));
  }
  return rows;
}

absl::Status CheckHeadStatistics(const InferContext& c, std::string_view op, int first,
                                 const TensorSpec& rows, std::string_view names) {
  for (int i = first; i < c.num_inputs(); ++i) {
    if (c.in(i) == rows) continue;
    return absl::InvalidArgumentError(absl::StrCat(std::string(op), ": ", std::string(names),
                                                   " must be ", rows.ToString(), ", got ",
                                                   c.in(i).ToString()));
  }
  return absl::OkStatus();
}

absl::Status CheckTargets(const KernelContext& k, std::string_view op) {
  const int64_t vocab = k.in(1).logical->shape[0];
  const int32_t* targets = k.in(2).as<int32_t>();
  for (int64_t i = 0; i < k.in(2).elements(); ++i) {
    if (targets[i] < vocab) continue;
    return absl::OutOfRangeError(absl::StrCat(std::string(op), ": target ", targets[i],
                                              " is not below the vocabulary size ", vocab,
                                              "; give w more rows, or check the data"));
  }
  return absl::OkStatus();
}

}  // namespace weft
