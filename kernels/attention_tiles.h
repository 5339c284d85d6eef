// How attention and its gradient cut their work: key heads with the query heads that they serve,
// tiles of query rows, and blocks of the keys that a tile sees. Products read operands as they are
// stored (T) and sum in the arithmetic type (f32 for bf16 and f16): no operand is converted as a
// whole, only a block's probabilities are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "absl/status/status.h"
#include "kernels/attention_geometry.h"
#include "kernels/gemm.h"
#include "kernels/scratch.h"
#include "kernels/wide_row.h"
#include "runtime/kernel.h"
#include "runtime/status.h"

namespace weft {

// The local query heads [first, last) that local key head `kv` serves, in one batch entry.
struct HeadGroup {
  int64_t batch, kv, first, last;
};

// Calls f(group), a status, for every local key head of every batch entry; a group may have no
// query head. Internal if the key head of some query head is not here.
template <typename F>
absl::Status ForEachHeadGroup(const Operand& q, const Operand& k, const AttentionSize& size,
                              F&& f) {
  for (int64_t batch = 0; batch < size.batch; ++batch) {
    int64_t head = 0;  // query heads follow each other as their key heads do
    for (int64_t kv = 0; kv < size.kv_heads; ++kv) {
      HeadGroup group{batch, kv, head, head};
      for (; group.last < size.heads; ++group.last) {
        WEFT_ASSIGN_OR_RETURN(const int64_t wanted, KeyHead(q, k, group.last));
        if (wanted != kv) break;
      }
      WEFT_RETURN_IF_ERROR(f(group));
      head = group.last;
    }
    if (head < size.heads) WEFT_RETURN_IF_ERROR(KeyHead(q, k, head).status());
  }
  return absl::OkStatus();
}

// A tile of one query head's rows [first, first + rows) and all keys and values of its key head.
template <typename T>
struct AttentionTile {
  int64_t first, rows, d, dv;
  double scale;
  const KeyRun* runs;  // of the tile's rows: the keys that each sees
  KeyRun keys;         // from the first to the last of them
  Matrix<const T> q, k, v;
};

// From the first to the last key of some runs.
inline KeyRun SpanOf(const KeyRun* runs, int64_t rows) {
  KeyRun span{std::numeric_limits<int64_t>::max(), 0};
  for (int64_t i = 0; i < rows; ++i) {
    if (runs[i].empty()) continue;
    span = {std::min(span.from, runs[i].from), std::max(span.to, runs[i].to)};
  }
  return span;
}

// Calls f(tile), a status, for each tile of the query rows `q`. `runs` are of all rows.
template <typename T, typename F>
absl::Status ForEachTile(const AttentionSize& size, double scale, const KeyRun* runs,
                         const HeadRows<T>& q, Matrix<const T> k, Matrix<const T> v, F&& f) {
  for (int64_t first = 0; first < size.s; first += kAttentionRows) {
    const int64_t rows = std::min(kAttentionRows, size.s - first);
    WEFT_RETURN_IF_ERROR(f(AttentionTile<T>{first, rows, size.d, size.dv, scale, runs + first,
                                            SpanOf(runs + first, rows), MatrixOf(q, first), k, v}));
  }
  return absl::OkStatus();
}

// Keys [first, first + count) of those that a tile sees.
struct KeyBlock {
  int64_t first, count;

  // What of them row `i` of the tile sees: [from, to) of the block.
  template <typename T>
  KeyRun SeenBy(const AttentionTile<T>& tile, int64_t i) const {
    const KeyRun run = tile.runs[i];
    if (run.empty()) return {0, 0};
    return {std::clamp<int64_t>(run.from - first, 0, count),
            std::clamp<int64_t>(run.to - first, 0, count)};
  }

  template <typename T>
  bool SeenByAny(const AttentionTile<T>& tile) const {
    for (int64_t i = 0; i < tile.rows; ++i) {
      if (!SeenBy(tile, i).empty()) return true;
    }
    return false;
  }
};

// Calls f(block), a status, for each block of keys of which the tile sees any, with its scaled
// scores in `scores`, dense [rows, count]; those of keys that a row does not see mean nothing.
template <typename T, typename F>
absl::Status ForEachBlock(const AttentionTile<T>& tile, ArithmeticOf<T>* scores, F&& f) {
  for (int64_t first = tile.keys.from; first < tile.keys.to; first += kAttentionKeys) {
    const KeyBlock block{first, std::min(kAttentionKeys, tile.keys.to - first)};
    if (!block.SeenByAny(tile)) continue;
    WEFT_RETURN_IF_ERROR(Gemm({tile.rows, block.count, tile.d}, tile.scale, tile.q,
                              Transpose(From(tile.k, first)), false,
                              Matrix<ArithmeticOf<T>>{scores, block.count, 1}));
    WEFT_RETURN_IF_ERROR(f(block));
  }
  return absl::OkStatus();
}

// Zeros in a block's row of `count` outside of what is seen.
template <typename W>
void ClearUnseen(W* row, const KeyRun& seen, int64_t count) {
  std::fill(row, row + seen.from, W(0));
  std::fill(row + seen.to, row + count, W(0));
}

// Where the sums of `n` rows begin: at what came before, whose dtype is theirs, or at 0. `before`
// may be the memory of the sums; no data if nothing came before.
template <typename W>
void StartSums(const Matrix<W>& sums, int64_t n, int64_t width, const HeadRows<W>& before,
               int64_t first) {
  for (int64_t i = 0; sums.data != nullptr && i < n; ++i) {
    W* row = From(sums, i).data;
    if (before.data == nullptr) {
      std::fill_n(row, width, W(0));
    } else if (before.row(first + i) != row) {
      std::copy_n(before.row(first + i), width, row);
    }
  }
}

// Dense x [rows, width] as products read it: itself, or rounded into `copy`.
template <typename T>
Matrix<const T> AsOperand(const ArithmeticOf<T>* x, int64_t rows, int64_t width, T* copy) {
  if constexpr (std::is_same_v<T, ArithmeticOf<T>>) {
    return {x, width, 1};
  } else {
    ConvertRow(copy, x, rows * width);
    return {copy, width, 1};
  }
}

// Where the sums of a result's rows from `first` on are formed: in the result itself, or in
// `scratch` for bf16 and f16. No data if nobody reads the result.
template <typename T>
Matrix<ArithmeticOf<T>> SumsOf(const HeadRows<T>& result, int64_t first, ArithmeticOf<T>* scratch) {
  if (result.data == nullptr) return {nullptr, 0, 1};
  if constexpr (std::is_same_v<T, ArithmeticOf<T>>) {
    return {result.row(first), result.stride, 1};
  } else {
    return {scratch, result.width, 1};
  }
}

// Rounds `n` rows of sums into the result from row `first` on, if they were formed elsewhere.
template <typename T>
void StoreSums(const Matrix<ArithmeticOf<T>>& sums, int64_t n, const HeadRows<T>& result,
               int64_t first) {
  if constexpr (!std::is_same_v<T, ArithmeticOf<T>>) {
    for (int64_t i = 0; result.data != nullptr && i < n; ++i) {
      ConvertRow(result.row(first + i), sums.data + i * sums.row_stride, result.width);
    }
  }
}

// Bytes of the buffers that a kernel takes for operands of this type and size. g++ gives the
// instance external linkage even if `Buffers` is local to a file: its name must be unique in the
// program.
template <template <typename> class Buffers>
int64_t BufferBytes(DType dtype, const AttentionSize& size) {
  Scratch scratch(nullptr);
  DispatchFloat(dtype, [&](auto type) {
    Buffers<decltype(type)>(scratch, size);
  }).IgnoreError();  // of dtypes that `infer` refuses
  return scratch.used();
}

}  // namespace weft
