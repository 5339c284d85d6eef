// What attention's kernels know of their operands: extents, which key/value head serves a query
// head, which keys a query sees, and where a head's rows lie.
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

// Input `i`, or nullptr if it is absent.
inline const Operand* GivenInput(const KernelContext& c, size_t i) {
  return i < c.inputs.size() && c.inputs[i].data != nullptr ? &c.inputs[i] : nullptr;
}

// Which positions of keys a query sees by its own. constexpr, so that devices may call it too.
struct AttentionMask {
  static constexpr int64_t kNoWindow = int64_t{1} << 60;
  bool causal = false;
  int64_t window = kNoWindow;

  // Keys less than `window` positions away, not after the query if causal; and in [bounds[0],
  // bounds[1]) unless bounds is nullptr. Empty if the end is not behind the begin.
  constexpr Interval Of(int64_t position, const int32_t* bounds) const {
    Interval seen{position - window + 1, causal ? position + 1 : position + window};
    if (bounds != nullptr && bounds[0] > seen.begin) seen.begin = bounds[0];
    if (bounds != nullptr && bounds[1] < seen.end) seen.end = bounds[1];
    return seen;
  }
};

inline AttentionMask MaskOf(const Attrs& attrs) {
  const int64_t window = attrs.Int("window");
  return {attrs.Bool("causal"),
          window > 0 ? std::min(window, AttentionMask::kNoWindow) : AttentionMask::kNoWindow};
}

// The local keys [from, to) that a query row sees; none unless from < to.
struct KeyRun {
  int64_t from, to;
  constexpr bool empty() const { return from >= to; }
};

inline int64_t CountBelow(const IndexSet& set, int64_t position) {
  int64_t count = 0;
  for (const Interval& interval : set.intervals()) {
    count += std::clamp<int64_t>(position - interval.begin, 0, interval.size());
  }
  return count;
}

// runs[i]: what query row i of batch entry `batch` sees. Keys lie in increasing logical order, so
// that the local ones which a row sees follow each other. `visible`: [batch,s,2], or nullptr.
inline void FindKeyRuns(const Operand& q, const Operand& k, const Operand* visible,
                        const AttentionMask& mask, int64_t batch, KeyRun* runs) {
  const IndexSet& keys = k.box->dims[1];
  const int32_t* bounds = visible == nullptr ? nullptr : visible->as<int32_t>();
  if (bounds != nullptr) bounds += batch * q.shape[1] * 2;
  for (const Interval& queries : q.box->dims[1].intervals()) {
    for (int64_t position = queries.begin; position < queries.end; ++position) {
      const Interval seen = mask.Of(position, bounds);
      *runs++ = {CountBelow(keys, seen.begin), CountBelow(keys, seen.end)};
      if (bounds != nullptr) bounds += 2;
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

// As HeadOf, of statistics [b,s,h]; no data if there is no operand.
template <typename W>
HeadRows<W> StatisticsOfHead(const Operand* x, int64_t b, int64_t head) {
  if (x == nullptr || x->data == nullptr) return {nullptr, 0, 0};
  return {x->as<W>() + b * x->shape[1] * x->shape[2] + head, x->shape[2], 1};
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
