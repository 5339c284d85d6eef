#include <algorithm>

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
    p = scratch.Take<W>(size.block());
    dp = scratch.Take<W>(size.block());
    delta = scratch.Take<W>(rows);
    if (std::is_same_v<T, W>) return;
    q = scratch.Take<W>(rows * size.d);
    dq = scratch.Take<W>(rows * size.d);
    doo = scratch.Take<W>(rows * size.dv);
    o = scratch.Take<W>(rows * size.dv);
    k = scratch.Take<W>(size.t * size.d);
    dk = scratch.Take<W>(size.t * size.d);
    v = scratch.Take<W>(size.t * size.dv);
    dv = scratch.Take<W>(size.t * size.dv);
  }
  int64_t* seen;
  W *p, *dp, *delta;
  W *q = nullptr, *dq = nullptr, *doo = nullptr, *o = nullptr;  // these are bf16 only
  W *k = nullptr, *dk = nullptr, *v = nullptr, *dv = nullptr;
};

// The operands of one tile of queries; gradients that nobody reads have data nullptr.
template <typename W>
struct Tile {
  int64_t rows, d, dv;
  W scale;
  const int64_t* seen;  // of the tile's rows
  const W* lse;         // of the tile's first row
  int64_t lse_stride;
  Matrix<const W> q, k, v, doo;
  Matrix<W> dq, dk, dvv;
};

// p: scores -> probabilities; dp: their gradients -> gradients of the products q k'.
template <typename W>
void SoftmaxGradBlock(const Tile<W>& tile, int64_t first, int64_t keys, const W* delta, W* p,
                      W* dp) {
  for (int64_t i = 0; i < tile.rows; ++i, p += keys, dp += keys) {
    const int64_t n = std::clamp<int64_t>(tile.seen[i] - first, 0, keys);
    std::fill(p + n, p + keys, W(0));
    std::fill(dp + n, dp + keys, W(0));
    RowSoftmaxGrad(p, dp, n, tile.lse[i * tile.lse_stride], delta[i], tile.scale);
  }
}

template <typename W>
absl::Status TileGrad(const Tile<W>& tile, const W* delta, W* p, W* dp) {
  const int64_t seen = tile.seen[tile.rows - 1];
  for (int64_t first = 0; first < seen; first += kAttentionKeys) {
    const int64_t keys = std::min(kAttentionKeys, seen - first);
    const Matrix<const W> k = From(tile.k, first), v = From(tile.v, first);
    const Matrix<const W> probabilities{p, keys, 1}, ds{dp, keys, 1};
    WEFT_RETURN_IF_ERROR(Gemm({tile.rows, keys, tile.d}, tile.scale, tile.q, Transpose(k), false,
                              Matrix<W>{p, keys, 1}));
    WEFT_RETURN_IF_ERROR(Gemm({tile.rows, keys, tile.dv}, 1, tile.doo, Transpose(v), false,
                              Matrix<W>{dp, keys, 1}));
    SoftmaxGradBlock(tile, first, keys, delta, p, dp);
    if (tile.dvv.data != nullptr) {
      WEFT_RETURN_IF_ERROR(Gemm({keys, tile.dv, tile.rows}, 1, Transpose(probabilities), tile.doo,
                                true, From(tile.dvv, first)));
    }
    if (tile.dk.data != nullptr) {
      WEFT_RETURN_IF_ERROR(Gemm({keys, tile.d, tile.rows}, 1, Transpose(ds), tile.q, true,
                                From(tile.dk, first)));
    }
    if (tile.dq.data != nullptr) {
      WEFT_RETURN_IF_ERROR(Gemm({tile.rows, tile.d, keys}, 1, ds, k, true, tile.dq));
    }
  }
  return absl::OkStatus();
}

template <typename W>
void Clear(const Matrix<W>& x, int64_t rows, int64_t width) {
  for (int64_t i = 0; x.data != nullptr && i < rows; ++i) {
    std::fill_n(x.data + i * x.row_stride, width, W(0));
  }
}

// Where sums of a gradient are formed: in the result itself, or in `scratch` for bf16.
template <typename T>
Matrix<ArithmeticOf<T>> SumsOf(const HeadRows<T>& result, int64_t first,
                               ArithmeticOf<T>* scratch) {
  if (result.data == nullptr) return {nullptr, 0, 1};
  if constexpr (std::is_same_v<T, ArithmeticOf<T>>) {
    return {result.row(first), result.stride, 1};
  } else {
    return {scratch, result.width, 1};
  }
}

template <typename T>
void Store(const Matrix<ArithmeticOf<T>>& sums, int64_t n, const HeadRows<T>& result,
           int64_t first) {
  if constexpr (!std::is_same_v<T, ArithmeticOf<T>>) {
    for (int64_t i = 0; result.data != nullptr && i < n; ++i) {
      ConvertRow(result.row(first + i), sums.data + i * sums.row_stride, result.width);
    }
  }
}

template <typename T>
class Gradient {
 public:
  explicit Gradient(const KernelContext& c)
      : c_(c),
        size_(c.in(1).shape, c.in(2).shape, c.in(3).shape),
        scratch_(c.workspace),
        buffers_(scratch_, size_) {
    tile_.d = size_.d;
    tile_.dv = size_.dv;
    tile_.scale = static_cast<W>(AttentionScale(*c.attrs, size_.d));
    tile_.lse_stride = size_.heads;
    CountSeenKeys(c.in(1).box->dims[1], c.in(2).box->dims[1], c.attrs->Bool("causal"),
                  buffers_.seen);
  }

  absl::Status Run() {
    for (int64_t b = 0; b < size_.batch; ++b) {
      // Query heads of one key head follow each other, and so do key heads; some may have none.
      int64_t h = 0;
      for (int64_t kv = 0; kv < size_.kv_heads; ++kv) {
        const HeadRows<T> dk = HeadOf<T>(c_.out(1), b, kv), dv = HeadOf<T>(c_.out(2), b, kv);
        tile_.k = WideRows(HeadOf<T>(c_.in(2), b, kv), 0, size_.t, buffers_.k);
        tile_.v = WideRows(HeadOf<T>(c_.in(3), b, kv), 0, size_.t, buffers_.v);
        tile_.dk = SumsOf(dk, 0, buffers_.dk);
        tile_.dvv = SumsOf(dv, 0, buffers_.dv);
        Clear(tile_.dk, size_.t, size_.d);
        Clear(tile_.dvv, size_.t, size_.dv);
        for (; h < size_.heads; ++h) {
          WEFT_ASSIGN_OR_RETURN(const int64_t wanted, KeyHead(c_.in(1), c_.in(2), h));
          if (wanted != kv) break;
          WEFT_RETURN_IF_ERROR(Head(b, h));
        }
        Store(tile_.dk, size_.t, dk, 0);
        Store(tile_.dvv, size_.t, dv, 0);
      }
    }
    return absl::OkStatus();
  }

 private:
  using W = ArithmeticOf<T>;

  absl::Status Head(int64_t b, int64_t h) {
    const HeadRows<T> doo = HeadOf<T>(c_.in(0), b, h), q = HeadOf<T>(c_.in(1), b, h);
    const HeadRows<T> o = HeadOf<T>(c_.in(4), b, h), dq = HeadOf<T>(c_.out(0), b, h);
    const W* lse = c_.in(5).as<W>() + b * size_.s * size_.heads + h;
    const bool has_dlse = c_.inputs.size() > 6 && c_.in(6).data != nullptr;
    const W* dlse = has_dlse ? c_.in(6).as<W>() + b * size_.s * size_.heads + h : nullptr;
    for (int64_t first = 0; first < size_.s; first += kAttentionRows) {
      tile_.rows = std::min(kAttentionRows, size_.s - first);
      tile_.seen = buffers_.seen + first;
      tile_.lse = lse + first * size_.heads;
      tile_.q = WideRows(q, first, tile_.rows, buffers_.q);
      tile_.doo = WideRows(doo, first, tile_.rows, buffers_.doo);
      const Matrix<const W> out = WideRows(o, first, tile_.rows, buffers_.o);
      for (int64_t i = 0; i < tile_.rows; ++i) {
        buffers_.delta[i] = RowDot(From(out, i).data, From(tile_.doo, i).data, size_.dv);
        if (dlse != nullptr) buffers_.delta[i] -= dlse[(first + i) * size_.heads];
      }
      tile_.dq = SumsOf(dq, first, buffers_.dq);
      Clear(tile_.dq, tile_.rows, size_.d);
      WEFT_RETURN_IF_ERROR(TileGrad(tile_, buffers_.delta, buffers_.p, buffers_.dp));
      Store(tile_.dq, tile_.rows, dq, first);
    }
    return absl::OkStatus();
  }

  const KernelContext& c_;
  AttentionSize size_;
  Scratch scratch_;
  Buffers<T> buffers_;
  Tile<W> tile_;
};

}  // namespace

absl::Status AttentionGradCpu(const KernelContext& k) {
  return RunForFloat(k.in(0).dtype(),
                     [&](auto type) { return Gradient<decltype(type)>(k).Run(); });
}

int64_t AttentionGradWorkspace(const CostContext& c) {
  const AttentionSize size(c.inputs[1].shape, c.inputs[2].shape, c.inputs[3].shape);
  Scratch scratch(nullptr);
  switch (c.inputs[0].dtype) {
    case DType::kF64: Buffers<double>(scratch, size); break;
    case DType::kBF16: Buffers<BFloat16>(scratch, size); break;
    default: Buffers<float>(scratch, size);
  }
  return scratch.used();
}

}  // namespace weft
