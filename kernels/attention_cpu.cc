#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention_cpu.h"
#include "kernels/attention_geometry.h"
#include "kernels/row_math.h"
#include "kernels/scratch.h"

namespace weft {
namespace {

template <typename T>
struct Buffers {
  using W = ArithmeticOf<T>;
  Buffers(Scratch& scratch, const AttentionSize& size) {
    const int64_t rows = std::min(size.s, kAttentionRows);
    seen = scratch.Take<int64_t>(size.s);
    scores = scratch.Take<W>(size.block());
    most = scratch.Take<W>(rows);
    sum = scratch.Take<W>(rows);
    o = scratch.Take<W>(rows * size.dv);
    if (std::is_same_v<T, W>) return;
    q = scratch.Take<W>(rows * size.d);
    k = scratch.Take<W>(size.t * size.d);
    v = scratch.Take<W>(size.t * size.dv);
  }
  int64_t* seen;
  W *scores, *most, *sum, *o;
  W *q = nullptr, *k = nullptr, *v = nullptr;  // bf16 only
};

// One tile of queries against all the keys that it sees.
template <typename W>
struct Tile {
  int64_t rows, d, dv;
  W scale;
  const int64_t* seen;  // of the tile's rows
  Matrix<const W> q, k, v;
  Matrix<W> o;
};

// Turns a block's scores into exp(score - most), and rescales what the rows have summed so far.
template <typename W>
void SoftmaxBlock(const Tile<W>& tile, int64_t first, int64_t keys, W* scores, W* most, W* sum) {
  for (int64_t i = 0; i < tile.rows; ++i) {
    W* row = scores + i * keys;
    const int64_t n = std::clamp<int64_t>(tile.seen[i] - first, 0, keys);
    std::fill(row + n, row + keys, W(0));
    if (n == 0) continue;
    const W now = std::max(most[i], RowMax(row, n));
    const W keep = std::exp(most[i] - now);
    sum[i] = sum[i] * keep + RowExp(row, n, now);
    most[i] = now;
    if (first > 0 && keep != 1) RowScale(tile.o.data + i * tile.o.row_stride, tile.dv, keep);
  }
}

template <typename W>
absl::Status Attend(const Tile<W>& tile, W* scores, W* most, W* sum) {
  const int64_t seen = tile.seen[tile.rows - 1];  // rows see more and more keys
  // Finite, so that the first block's factor is 0 and not NaN.
  std::fill_n(most, tile.rows, std::numeric_limits<W>::lowest());
  std::fill_n(sum, tile.rows, W(0));
  for (int64_t first = 0; first < seen; first += kAttentionKeys) {
    const int64_t keys = std::min(kAttentionKeys, seen - first);
    WEFT_RETURN_IF_ERROR(Gemm({tile.rows, keys, tile.d}, tile.scale, tile.q,
                              Transpose(From(tile.k, first)), false, Matrix<W>{scores, keys, 1}));
    SoftmaxBlock(tile, first, keys, scores, most, sum);
    WEFT_RETURN_IF_ERROR(Gemm({tile.rows, tile.dv, keys}, 1, Matrix<const W>{scores, keys, 1},
                              From(tile.v, first), first > 0, tile.o));
  }
  return absl::OkStatus();
}

// Divides by the sums and stores o and lse of the tile's rows.
template <typename T>
void Finish(const Tile<ArithmeticOf<T>>& tile, const ArithmeticOf<T>* most,
            const ArithmeticOf<T>* sum, const HeadRows<T>& o, int64_t first,
            HeadRows<ArithmeticOf<T>> lse) {
  using W = ArithmeticOf<T>;
  for (int64_t i = 0; i < tile.rows; ++i) {
    W* row = tile.o.data + i * tile.o.row_stride;
    if (tile.seen[i] == 0) {
      std::fill_n(row, tile.dv, W(0));
    } else {
      RowScale(row, tile.dv, 1 / sum[i]);
    }
    if (lse.data != nullptr) {
      *lse.row(first + i) = tile.seen[i] == 0 ? -std::numeric_limits<W>::infinity()
                                              : most[i] + std::log(sum[i]);
    }
    if constexpr (!std::is_same_v<T, W>) {
      if (o.data != nullptr) ConvertRow(o.row(first + i), row, tile.dv);
    }
  }
}

template <typename T>
absl::Status Attention(const KernelContext& c) {
  using W = ArithmeticOf<T>;
  const Operand &q = c.in(0), &k = c.in(1), &v = c.in(2), &o = c.out(0), &lse = c.out(1);
  const AttentionSize size(q.shape, k.shape, v.shape);
  Scratch scratch(c.workspace);
  Buffers<T> buffers(scratch, size);
  CountSeenKeys(q.box->dims[1], k.box->dims[1], c.attrs->Bool("causal"), buffers.seen);
  Tile<W> tile;
  tile.d = size.d;
  tile.dv = size.dv;
  tile.scale = static_cast<W>(AttentionScale(*c.attrs, size.d));
  for (int64_t b = 0; b < size.batch; ++b) {
    int64_t wide_head = -1;  // whose keys and values are in the buffers
    for (int64_t h = 0; h < size.heads; ++h) {
      WEFT_ASSIGN_OR_RETURN(const int64_t kv, KeyHead(q, k, h));
      if (kv != wide_head) {
        tile.k = WideRows(HeadOf<T>(k, b, kv), 0, size.t, buffers.k);
        tile.v = WideRows(HeadOf<T>(v, b, kv), 0, size.t, buffers.v);
        wide_head = kv;
      }
      const HeadRows<T> out = HeadOf<T>(o, b, h);
      W* statistics = lse.as<W>();
      if (statistics != nullptr) statistics += b * size.s * size.heads + h;
      for (int64_t first = 0; first < size.s; first += kAttentionRows) {
        tile.rows = std::min(kAttentionRows, size.s - first);
        tile.seen = buffers.seen + first;
        tile.q = WideRows(HeadOf<T>(q, b, h), first, tile.rows, buffers.q);
        tile.o = {buffers.o, size.dv, 1};
        if constexpr (std::is_same_v<T, W>) {
          if (out.data != nullptr) tile.o = {out.row(first), out.stride, 1};
        }
        WEFT_RETURN_IF_ERROR(Attend(tile, buffers.scores, buffers.most, buffers.sum));
        Finish<T>(tile, buffers.most, buffers.sum, out, first, {statistics, size.heads, 1});
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AttentionCpu(const KernelContext& k) {
  return RunForFloat(k.in(0).dtype(), [&](auto type) { return Attention<decltype(type)>(k); });
}

int64_t AttentionWorkspace(const CostContext& c) {
  const AttentionSize size(c.inputs[0].shape, c.inputs[1].shape, c.inputs[2].shape);
  Scratch scratch(nullptr);
  switch (c.inputs[0].dtype) {
    case DType::kF64: Buffers<double>(scratch, size); break;
    case DType::kBF16: Buffers<BFloat16>(scratch, size); break;
    default: Buffers<float>(scratch, size);
  }
  return scratch.used();
}

}  // namespace weft
