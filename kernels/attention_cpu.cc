#include "kernels/attention_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention_tiles.h"
#include "kernels/row_math.h"

namespace weft {
namespace {

template <typename T>
struct AttentionBuffers {
  using W = ArithmeticOf<T>;
  AttentionBuffers(Scratch& scratch, const AttentionSize& size) {
    const int64_t rows = std::min(size.s, kAttentionRows);
    seen = scratch.Take<int64_t>(size.s);
    scores = scratch.Take<W>(size.block());
    most = scratch.Take<W>(rows);
    sum = scratch.Take<W>(rows);
    o = scratch.Take<W>(rows * size.dv);
    if (!std::is_same_v<T, W>) p = scratch.Take<T>(size.block());
  }
  int64_t* seen;
  W *scores, *most, *sum, *o;
  T* p = nullptr;  // the scores as an operand, bf16 and f16 only
};

template <typename T>
class Attention {
 public:
  explicit Attention(const KernelContext& c)
      : q_(c.in(0)),
        k_(c.in(1)),
        v_(c.in(2)),
        o_(c.out(0)),
        lse_(c.out(1)),
        size_(q_.shape, k_.shape, v_.shape),
        scratch_(c.workspace),
        buffers_(scratch_, size_),
        scale_(AttentionScale(*c.attrs, size_.d)) {
    CountSeenKeys(q_.box->dims[1], k_.box->dims[1], c.attrs->Bool("causal"), buffers_.seen);
  }

  absl::Status Run() {
    return ForEachHeadGroup(q_, k_, size_, [&](const HeadGroup& group) {
      const Matrix<const T> k = MatrixOf(HeadOf<T>(k_, group.batch, group.kv), 0);
      const Matrix<const T> v = MatrixOf(HeadOf<T>(v_, group.batch, group.kv), 0);
      for (int64_t head = group.first; head < group.last; ++head) {
        const HeadRows<T> o = HeadOf<T>(o_, group.batch, head);
        W* lse = lse_.as<W>();
        if (lse != nullptr) lse += group.batch * size_.s * size_.heads + head;
        WEFT_RETURN_IF_ERROR(ForEachTile(size_, scale_, buffers_.seen,
                                         HeadOf<T>(q_, group.batch, head), k, v,
                                         [&](const AttentionTile<T>& tile) {
                                           return Attend(tile, o, {lse, size_.heads, 1});
                                         }));
      }
      return absl::OkStatus();
    });
  }

 private:
  using W = ArithmeticOf<T>;

  absl::Status Attend(const AttentionTile<T>& tile, const HeadRows<T>& o, const HeadRows<W>& lse) {
    const Matrix<W> sums =
        o.data != nullptr ? SumsOf(o, tile.first, buffers_.o) : Matrix<W>{buffers_.o, tile.dv, 1};
    // Finite, so that the first block's factor is 0 and not NaN.
    std::fill_n(buffers_.most, tile.rows, std::numeric_limits<W>::lowest());
    std::fill_n(buffers_.sum, tile.rows, W(0));
    WEFT_RETURN_IF_ERROR(ForEachBlock(tile, buffers_.scores, [&](const KeyBlock& block) {
      SoftmaxBlock(tile, block, sums);
      return Gemm({tile.rows, tile.dv, block.count}, 1,
                  AsOperand<T>(buffers_.scores, tile.rows, block.count, buffers_.p),
                  From(tile.v, block.first), block.first > 0, sums);
    }));
    Finish(tile, sums, lse);
    StoreSums(sums, tile.rows, o, tile.first);
    return absl::OkStatus();
  }

  // Turns a block's scores into exp(score - most), and rescales what the rows have summed so far.
  void SoftmaxBlock(const AttentionTile<T>& tile, const KeyBlock& block, const Matrix<W>& sums) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      W* row = buffers_.scores + i * block.count;
      const int64_t n = block.SeenBy(tile, i);
      std::fill(row + n, row + block.count, W(0));
      if (n == 0) continue;
      W &most = buffers_.most[i], &sum = buffers_.sum[i];
      const W now = std::max(most, RowMax(row, n));
      const W keep = std::exp(most - now);
      sum = sum * keep + RowExp(row, n, now);
      most = now;
      if (block.first > 0 && keep != 1) RowScale(From(sums, i).data, tile.dv, keep);
    }
  }

  // Divides by the sums and stores lse of the tile's rows; one that sees no key has o = 0.
  void Finish(const AttentionTile<T>& tile, const Matrix<W>& sums, const HeadRows<W>& lse) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      const W most = buffers_.most[i], sum = buffers_.sum[i];
      const bool blind = tile.seen[i] == 0;
      W* row = From(sums, i).data;
      if (blind) {
        std::fill_n(row, tile.dv, W(0));
      } else {
        RowScale(row, tile.dv, 1 / sum);
      }
      if (lse.data == nullptr) continue;
      *lse.row(tile.first + i) = blind ? -std::numeric_limits<W>::infinity() : most + std::log(sum);
    }
  }

  const Operand &q_, &k_, &v_, &o_, &lse_;
  AttentionSize size_;
  Scratch scratch_;
  AttentionBuffers<T> buffers_;
  double scale_;
};

}  // namespace

absl::Status AttentionCpu(const KernelContext& k) {
  return RunForFloat(k.in(0).dtype(),
                     [&](auto type) { return Attention<decltype(type)>(k).Run(); });
}

int64_t AttentionWorkspace(const CostContext& c) {
  return BufferBytes<AttentionBuffers>(
      c.inputs[0].dtype, AttentionSize(c.inputs[0].shape, c.inputs[1].shape, c.inputs[2].shape));
}

}  // namespace weft
