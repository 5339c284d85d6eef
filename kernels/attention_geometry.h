// What attention's kernels know of their operands: extents, which key/value head serves a query
// head, how many keys a query sees, and where a head's rows lie.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/dispatch.h"
#include "kernels/gemm.h"
#include "kernels/wide_row.h"
#include "runtime/kernel.h"

namespace weft {

// Rows of queries and keys in one block of scores.
inline constexpr int64_t kAttentionRows = 64;
inline constexpr int64_t kAttentionKeys = 512;

// Local extents of q [b,s,hq,d], k [b,t,hkv,d], v [b,t,hkv,dv].
struct AttentionSize {
  AttentionSize(absl::Span<const int64_t> q, absl::Span<const int64_t> k,
                absl::Span<const int64_t> v)
      : batch(q[0]), s(q[1]), t(k[1]), heads(q[2]), kv_heads(k[2]), d(q[3]), dv(v[3]) {}
  int64_t batch, s, t, heads, kv_heads, d, dv;
  int64_t block() const { return std::min(s, kAttentionRows) * std::min(t, kAttentionKeys); }
};

// The attribute, or 1/sqrt(head_dim) if it is 0.
inline double AttentionScale(const Attrs& attrs, int64_t d) {
  const double scale = attrs.Float("scale");
  return scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(d));
}

// Local key/value head of a local query head, by logical index; Internal if it is not here.
inline absl::StatusOr<int64_t> KeyHead(const Operand& q, const Operand& k, int64_t head) {
  const int64_t group = q.logical->shape[2] / k.logical->shape[2];
  const int64_t local = k.box->dims[2].ToLocal(q.box->dims[2].ToLogical(head) / group);
  if (local >= 0) return local;
  return absl::InternalError(absl::StrCat("attention: query heads ", q.box->ToString(),
                                          " need key heads that are not in ", k.box->ToString()));
}

// seen[i]: how many of the local keys, from the first on, query row i sees. Keys lie in increasing
// logical order, so those that a causal row sees come first.
inline void CountSeenKeys(const IndexSet& queries, const IndexSet& keys, bool causal,
                          int64_t* seen) {
  int64_t row = 0;
  for (const Interval& q : queries.intervals()) {
    for (int64_t position = q.begin; position < q.end; ++position, ++row) {
      seen[row] = 0;
      for (const Interval& k : keys.intervals()) {
        if (causal && k.begin > position) break;
        seen[row] += (causal ? std::min(k.end, position + 1) : k.end) - k.begin;
      }
    }
  }
}

// Rows of one head: `stride` elements between rows of `width`.
template <typename T>
struct HeadRows {
  T* data;
  int64_t stride;
  int64_t width;
  T* row(int64_t i) const { return data + i * stride; }
};

// Head `head` of batch entry `b` of an operand [b,s,h,d]; data nullptr if the operand's is, which
// then has no shape either.
template <typename T>
HeadRows<T> HeadOf(const Operand& x, int64_t b, int64_t head) {
  if (x.data == nullptr) return {nullptr, 0, 0};
  const int64_t stride = x.shape[2] * x.shape[3];
  return {x.as<T>() + b * x.shape[1] * stride + head * x.shape[3], stride, x.shape[3]};
}

// A head's rows from row `first` on as a matrix.
template <typename T>
Matrix<const T> MatrixOf(const HeadRows<T>& rows, int64_t first) {
  return {rows.row(first), rows.stride, 1};
}

// The matrix from row `first` on.
template <typename T>
Matrix<T> From(const Matrix<T>& x, int64_t first) {
  return {x.data + first * x.row_stride, x.row_stride, x.col_stride};
}

template <typename T>
Matrix<T> Transpose(const Matrix<T>& x) {
  return {x.data, x.col_stride, x.row_stride};
}

}  // namespace weft
