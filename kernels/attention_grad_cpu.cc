#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention_cpu.h"
#include "kernels/attention_tiles.h"
#include "kernels/row_math.h"

namespace weft {
namespace {

// Gradients in O: T or the type of the sums, which are then formed in the results themselves.
template <typename T, typename O>
struct GradientBuffers {
  using W = ArithmeticOf<T>;
  GradientBuffers(Scratch& scratch, const AttentionSize& size) {
    const int64_t rows = std::min(size.s, kAttentionRows);
    runs = scratch.Take<KeyRun>(size.s);
    p = scratch.Take<W>(size.block());
    dp = scratch.Take<W>(size.block());
    delta = scratch.Take<W>(rows);
    if (std::is_same_v<T, W>) return;
    p_copy = scratch.Take<T>(size.block());
    ds_copy = scratch.Take<T>(size.block());
    if (std::is_same_v<O, W>) return;
    row = scratch.Take<W>(2 * size.dv);
    dq = scratch.Take<W>(rows * size.d);
    dk = scratch.Take<W>(size.t * size.d);
    dv = scratch.Take<W>(size.t * size.dv);
  }
  KeyRun* runs;
  W *p, *dp, *delta;
  T *p_copy = nullptr, *ds_copy = nullptr;  // p and dp as operands, bf16 only
  W* row = nullptr;                         // these are for results in bf16 only
  W *dq = nullptr, *dk = nullptr, *dv = nullptr;
};
template <typename T>
using AttentionGradBuffers = GradientBuffers<T, T>;
template <typename T>
using AttentionBlockGradBuffers = GradientBuffers<T, ArithmeticOf<T>>;

struct GradientOperands {
  const Operand &doo, &q, &k, &v, &lse;
  // Either delta or what it is made of; nullptr: absent.
  const Operand *delta, *o, *dlse;
  const Operand* visible;
  const Operand *dq_before, *dk_before, *dv_before;
};

template <typename W>
HeadRows<W> HeadBefore(const Operand* x, int64_t batch, int64_t head) {
  return x == nullptr ? HeadRows<W>{nullptr, 0, 0} : HeadOf<W>(*x, batch, head);
}

template <typename T, typename O>
class Gradient {
 public:
  Gradient(const KernelContext& c, const GradientOperands& x)
      : c_(c),
        x_(x),
        size_(x.q.shape, x.k.shape, x.v.shape),
        scratch_(c.workspace),
        buffers_(scratch_, size_),
        scale_(AttentionScale(*c.attrs, size_.d)),
        mask_(MaskOf(*c.attrs)) {
    FindKeyRuns(x.q, x.k, nullptr, mask_, 0, buffers_.runs);
  }

  absl::Status Run() {
    return ForEachHeadGroup(x_.q, x_.k, size_, [&](const HeadGroup& group) {
      if (x_.visible != nullptr && group.kv == 0) {
        FindKeyRuns(x_.q, x_.k, x_.visible, mask_, group.batch, buffers_.runs);
      }
      const HeadRows<O> dk = HeadOf<O>(c_.out(1), group.batch, group.kv);
      const HeadRows<O> dv = HeadOf<O>(c_.out(2), group.batch, group.kv);
      const Sums sums{SumsOf(dk, 0, buffers_.dk), SumsOf(dv, 0, buffers_.dv)};
      // Key heads of which no query head is here have gradients too.
      StartSums(sums.dk, size_.t, size_.d, HeadBefore<W>(x_.dk_before, group.batch, group.kv), 0);
      StartSums(sums.dv, size_.t, size_.dv, HeadBefore<W>(x_.dv_before, group.batch, group.kv), 0);
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
    HeadRows<T> doo, o;
    HeadRows<O> dq;
    HeadRows<W> dq_before, lse, delta, dlse;
  };

  absl::Status Head(const HeadGroup& group, int64_t head, const Sums& sums) {
    const int64_t batch = group.batch;
    const HeadOperands operands{HeadOf<T>(x_.doo, batch, head),
                                x_.o == nullptr ? HeadRows<T>{} : HeadOf<T>(*x_.o, batch, head),
                                HeadOf<O>(c_.out(0), batch, head),
                                HeadBefore<W>(x_.dq_before, batch, head),
                                StatisticsOfHead<W>(&x_.lse, batch, head),
                                StatisticsOfHead<W>(x_.delta, batch, head),
                                StatisticsOfHead<W>(x_.dlse, batch, head)};
    return ForEachTile(size_, scale_, buffers_.runs, HeadOf<T>(x_.q, batch, head),
                       MatrixOf(HeadOf<T>(x_.k, batch, group.kv), 0),
                       MatrixOf(HeadOf<T>(x_.v, batch, group.kv), 0),
                       [&](const AttentionTile<T>& tile) { return Tile(tile, operands, sums); });
  }

  absl::Status Tile(const AttentionTile<T>& tile, const HeadOperands& head, const Sums& sums) {
    const Matrix<const T> doo = MatrixOf(head.doo, tile.first);
    const Matrix<W> dq = SumsOf(head.dq, tile.first, buffers_.dq);
    FindDeltas(tile, head);
    StartSums(dq, tile.rows, tile.d, head.dq_before, tile.first);
    WEFT_RETURN_IF_ERROR(ForEachBlock(tile, buffers_.p, [&](const KeyBlock& block) {
      return Block(tile, block, head, doo, dq, sums);
    }));
    StoreSums(dq, tile.rows, head.dq, tile.first);
    return absl::OkStatus();
  }

  // delta of each row: its do o, less dlse.
  void FindDeltas(const AttentionTile<T>& tile, const HeadOperands& head) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      const int64_t at = tile.first + i;
      if (head.delta.data != nullptr) {
        buffers_.delta[i] = *head.delta.row(at);
        continue;
      }
      buffers_.delta[i] =
          RowDot(WideRow<T>(head.o.row(at), tile.dv, buffers_.row),
                 WideRow<T>(head.doo.row(at), tile.dv, buffers_.row + tile.dv), tile.dv);
      if (head.dlse.data != nullptr) buffers_.delta[i] -= *head.dlse.row(at);
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

  // p: scores -> probabilities; dp: their gradients -> gradients of the products q k'. A row that
  // saw no key anywhere has none of either.
  void SoftmaxGradBlock(const AttentionTile<T>& tile, const KeyBlock& block,
                        const HeadRows<W>& lse) {
    W *p = buffers_.p, *dp = buffers_.dp;
    for (int64_t i = 0; i < tile.rows; ++i, p += block.count, dp += block.count) {
      const W of_row = *lse.row(tile.first + i);
      const bool blind = of_row == -std::numeric_limits<W>::infinity();
      const KeyRun seen = blind ? KeyRun{0, 0} : block.SeenBy(tile, i);
      ClearUnseen(p, seen, block.count);
      ClearUnseen(dp, seen, block.count);
      if (seen.empty()) continue;
      RowSoftmaxGrad(p + seen.from, dp + seen.from, seen.to - seen.from, of_row, buffers_.delta[i],
                     static_cast<W>(tile.scale));
    }
  }

  const KernelContext& c_;
  const GradientOperands& x_;
  AttentionSize size_;
  Scratch scratch_;
  GradientBuffers<T, O> buffers_;
  double scale_;
  AttentionMask mask_;
};

AttentionSize SizeOfGradient(const CostContext& c) {
  return AttentionSize(c.inputs[1].shape, c.inputs[2].shape, c.inputs[3].shape);
}

}  // namespace

absl::Status AttentionGradCpu(const KernelContext& k) {
  const GradientOperands x{k.in(0),  k.in(1),          k.in(2),          k.in(3), k.in(5), nullptr,
                           &k.in(4), GivenInput(k, 6), GivenInput(k, 7), nullptr, nullptr, nullptr};
  return RunForFloat(k.in(0).dtype(), [&](auto type) {
    using T = decltype(type);
    return Gradient<T, T>(k, x).Run();
  });
}

absl::Status AttentionBlockGradCpu(const KernelContext& k) {
  const GradientOperands x{k.in(0),          k.in(1),          k.in(2),          k.in(3),
                           k.in(4),          &k.in(5),         nullptr,          nullptr,
                           GivenInput(k, 6), GivenInput(k, 7), GivenInput(k, 8), GivenInput(k, 9)};
  return RunForFloat(k.in(0).dtype(), [&](auto type) {
    using T = decltype(type);
    return Gradient<T, ArithmeticOf<T>>(k, x).Run();
  });
}

int64_t AttentionGradWorkspace(const CostContext& c) {
  return BufferBytes<AttentionGradBuffers>(c.inputs[0].dtype, SizeOfGradient(c));
}

int64_t AttentionBlockGradWorkspace(const CostContext& c) {
  return BufferBytes<AttentionBlockGradBuffers>(c.inputs[0].dtype, SizeOfGradient(c));
}

}  // namespace weft
