#include <algorithm>

#include "kernels/attention_cpu.h"
#include "kernels/attention_tiles.h"
#include "kernels/row_math.h"

namespace weft {
namespace {

template <typename T>
struct AttentionGradBuffers {
  using W = ArithmeticOf<T>;
  AttentionGradBuffers(Scratch& scratch, const AttentionSize& size) {
    const int64_t rows = std::min(size.s, kAttentionRows);
    seen = scratch.Take<int64_t>(size.s);
    p = scratch.Take<W>(size.block());
    dp = scratch.Take<W>(size.block());
    delta = scratch.Take<W>(rows);
    if (std::is_same_v<T, W>) return;
    p_copy = scratch.Take<T>(size.block());
    ds_copy = scratch.Take<T>(size.block());
    row = scratch.Take<W>(2 * size.dv);
    dq = scratch.Take<W>(rows * size.d);
    dk = scratch.Take<W>(size.t * size.d);
    dv = scratch.Take<W>(size.t * size.dv);
  }
  int64_t* seen;
  W *p, *dp, *delta;
  T *p_copy = nullptr,
    *ds_copy = nullptr;  // p and dp as operands; these and the rest are for bf16 and f16
  W* row = nullptr;
  W *dq = nullptr, *dk = nullptr, *dv = nullptr;
};

template <typename W>
void Clear(const Matrix<W>& x, int64_t rows, int64_t width) {
  for (int64_t i = 0; x.data != nullptr && i < rows; ++i) {
    std::fill_n(From(x, i).data, width, W(0));
  }
}

template <typename T>
class Gradient {
 public:
  explicit Gradient(const KernelContext& c)
      : c_(c),
        size_(c.in(1).shape, c.in(2).shape, c.in(3).shape),
        scratch_(c.workspace),
        buffers_(scratch_, size_),
        scale_(AttentionScale(*c.attrs, size_.d)) {
    CountSeenKeys(c.in(1).box->dims[1], c.in(2).box->dims[1], c.attrs->Bool("causal"),
                  buffers_.seen);
  }

  absl::Status Run() {
    return ForEachHeadGroup(c_.in(1), c_.in(2), size_, [&](const HeadGroup& group) {
      const HeadRows<T> dk = HeadOf<T>(c_.out(1), group.batch, group.kv);
      const HeadRows<T> dv = HeadOf<T>(c_.out(2), group.batch, group.kv);
      const Sums sums{SumsOf(dk, 0, buffers_.dk), SumsOf(dv, 0, buffers_.dv)};
      // Key heads of which no query head is here have gradients too: zeros.
      Clear(sums.dk, size_.t, size_.d);
      Clear(sums.dv, size_.t, size_.dv);
      for (int64_t head = group.first; head < group.last; ++head) {
        WEFT_RETURN_IF_ERROR(Head(group, head, sums));
      }
      StoreSums(sums.dk, size_.t, dk, 0);
      StoreSums(sums.dv, size_.t, dv, 0);
      return absl::OkStatus();
    });
  }

 private:
  using W = ArithmeticOf<T>;

  // Gradients of one key head, added to by its query heads; no data where nobody reads them.
  struct Sums {
    Matrix<W> dk, dv;
  };
  // What the tiles of one query head have besides queries, keys and values.
  struct HeadOperands {
    HeadRows<T> doo, o, dq;
    const W *lse, *dlse;  // every size_.heads-th is of this head
  };

  absl::Status Head(const HeadGroup& group, int64_t head, const Sums& sums) {
    const int64_t at = group.batch * size_.s * size_.heads + head;
    const bool has_dlse = c_.inputs.size() > 6 && c_.in(6).data != nullptr;
    const HeadOperands operands{HeadOf<T>(c_.in(0), group.batch, head),
                                HeadOf<T>(c_.in(4), group.batch, head),
                                HeadOf<T>(c_.out(0), group.batch, head), c_.in(5).as<W>() + at,
                                has_dlse ? c_.in(6).as<W>() + at : nullptr};
    return ForEachTile(size_, scale_, buffers_.seen, HeadOf<T>(c_.in(1), group.batch, head),
                       MatrixOf(HeadOf<T>(c_.in(2), group.batch, group.kv), 0),
                       MatrixOf(HeadOf<T>(c_.in(3), group.batch, group.kv), 0),
                       [&](const AttentionTile<T>& tile) { return Tile(tile, operands, sums); });
  }

  absl::Status Tile(const AttentionTile<T>& tile, const HeadOperands& head, const Sums& sums) {
    const Matrix<const T> doo = MatrixOf(head.doo, tile.first);
    const Matrix<W> dq = SumsOf(head.dq, tile.first, buffers_.dq);
    SumDeltas(tile, head);
    Clear(dq, tile.rows, tile.d);
    WEFT_RETURN_IF_ERROR(ForEachBlock(tile, buffers_.p, [&](const KeyBlock& block) {
      return Block(tile, block, head, doo, dq, sums);
    }));
    StoreSums(dq, tile.rows, head.dq, tile.first);
    return absl::OkStatus();
  }

  // delta of each row: its do o, less dlse.
  void SumDeltas(const AttentionTile<T>& tile, const HeadOperands& head) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      const int64_t at = tile.first + i;
      buffers_.delta[i] =
          RowDot(WideRow<T>(head.o.row(at), tile.dv, buffers_.row),
                 WideRow<T>(head.doo.row(at), tile.dv, buffers_.row + tile.dv), tile.dv);
      if (head.dlse != nullptr) buffers_.delta[i] -= head.dlse[at * size_.heads];
    }
  }

  absl::Status Block(const AttentionTile<T>& tile, const KeyBlock& block, const HeadOperands& head,
                     const Matrix<const T>& doo, const Matrix<W>& dq, const Sums& sums) {
    const int64_t rows = tile.rows, keys = block.count;
    const Matrix<const T> k = From(tile.k, block.first), v = From(tile.v, block.first);
    WEFT_RETURN_IF_ERROR(
        Gemm({rows, keys, tile.dv}, 1, doo, Transpose(v), false, Matrix<W>{buffers_.dp, keys, 1}));
    SoftmaxGradBlock(tile, block, head.lse);
    const Matrix<const T> p = AsOperand<T>(buffers_.p, rows, keys, buffers_.p_copy);
    const Matrix<const T> ds = AsOperand<T>(buffers_.dp, rows, keys, buffers_.ds_copy);
    if (sums.dv.data != nullptr) {
      WEFT_RETURN_IF_ERROR(
          Gemm({keys, tile.dv, rows}, 1, Transpose(p), doo, true, From(sums.dv, block.first)));
    }
    if (sums.dk.data != nullptr) {
      WEFT_RETURN_IF_ERROR(
          Gemm({keys, tile.d, rows}, 1, Transpose(ds), tile.q, true, From(sums.dk, block.first)));
    }
    if (dq.data == nullptr) return absl::OkStatus();
    return Gemm({rows, tile.d, keys}, 1, ds, k, true, dq);
  }

  // p: scores -> probabilities; dp: their gradients -> gradients of the products q k'.
  void SoftmaxGradBlock(const AttentionTile<T>& tile, const KeyBlock& block, const W* lse) {
    W *p = buffers_.p, *dp = buffers_.dp;
    for (int64_t i = 0; i < tile.rows; ++i, p += block.count, dp += block.count) {
      const int64_t n = block.SeenBy(tile, i);
      std::fill(p + n, p + block.count, W(0));
      std::fill(dp + n, dp + block.count, W(0));
      RowSoftmaxGrad(p, dp, n, lse[(tile.first + i) * size_.heads], buffers_.delta[i],
                     static_cast<W>(tile.scale));
    }
  }

  const KernelContext& c_;
  AttentionSize size_;
  Scratch scratch_;
  AttentionGradBuffers<T> buffers_;
  double scale_;
};

}  // namespace

absl::Status AttentionGradCpu(const KernelContext& k) {
  return RunForFloat(k.in(0).dtype(), [&](auto type) { return Gradient<decltype(type)>(k).Run(); });
}

int64_t AttentionGradWorkspace(const CostContext& c) {
  return BufferBytes<AttentionGradBuffers>(
      c.inputs[0].dtype, AttentionSize(c.inputs[1].shape, c.inputs[2].shape, c.inputs[3].shape));
}

}  // namespace weft
