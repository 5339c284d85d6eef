// What the ops of the fused head and loss have in common: their operands x [..., hidden],
// w [vocabulary, hidden] and targets [...], and the gradient of a row of logits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/op_def.h"
#include "kernels/row_math.h"
#include "kernels/wide_row.h"
#include "runtime/kernel.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Local extents: rows of x, vocabulary and hidden.
struct HeadSize {
  HeadSize(absl::Span<const int64_t> x, absl::Span<const int64_t> w)
      : rows(NumElements(x.first(x.size() - 1))), vocab(w[0]), hidden(w[1]) {}
  int64_t rows, vocab, hidden;
};

// The spec of a statistic of every row, such as lse. InvalidArgument, naming `op` and the shapes,
// if the first three operands do not fit together.
absl::StatusOr<TensorSpec> CheckHead(const InferContext& c, std::string_view op);

// InvalidArgument unless all operands from `first` on, which the error calls `names`, are
// statistics of `rows`.
absl::Status CheckHeadStatistics(const InferContext& c, std::string_view op, int first,
                                 const TensorSpec& rows, std::string_view names);

// OutOfRange if a target is beyond the whole vocabulary: it would be nobody's, and count as logit
// 0. Negative targets are padding.
absl::Status CheckTargets(const KernelContext& k, std::string_view op);

// The row of the local part of w that the row's target names, or -1.
inline int64_t LocalTarget(const KernelContext& k, int64_t row) {
  const int32_t target = k.in(2).as<int32_t>()[row];
  return target < 0 ? -1 : k.in(1).box->dims[0].ToLocal(target);
}

// Logits of a row -> exp(logits - lse) dlse; 0, whatever they are, where dlse is 0.
template <typename W>
void LogitGradient(W* logits, int64_t n, W lse, W dlse) {
  if (dlse == 0) {
    std::fill_n(logits, n, W(0));
  } else {
    RowExp(logits, n, lse);
    RowScale(logits, n, dlse);
  }
}

// Wide values as products take them: themselves, or their conversion written to `scratch`.
template <typename T>
const T* AsStored(const ArithmeticOf<T>* values, int64_t n, T* scratch) {
  if constexpr (std::is_same_v<T, ArithmeticOf<T>>) {
    return values;
  } else {
    ConvertRow(scratch, values, n);
    return scratch;
  }
}

// Results from their wide sums, added to what is there where `adds`; f32 and f64 are summed in
// place and stay as they are.
template <typename T>
void StoreSums(const ArithmeticOf<T>* from, bool adds, T* to, int64_t n) {
  if constexpr (!std::is_same_v<T, ArithmeticOf<T>>) {
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i] + (adds ? Load(to[i]) : 0));
  }
}

// So many products of x and w, and the softmax.
template <int kProducts>
Cost HeadCost(const CostContext& c) {
  const HeadSize size(c.inputs[0].shape, c.inputs[1].shape);
  return {.flops = (2.0 * kProducts * size.hidden + 5) * size.rows * size.vocab + 1,
          .bytes = static_cast<double>(c.bytes())};
}

}  // namespace weft
