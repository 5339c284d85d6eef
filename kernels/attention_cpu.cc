#include "kernels/attention_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention_specs.h"
#include "kernels/attention_tiles.h"
#include "kernels/row_math.h"

namespace weft {
namespace {

template <typename T>
struct AttentionBuffers {
  using W = ArithmeticOf<T>;
  AttentionBuffers(Scratch& scratch, const AttentionSize& size) {
    const int64_t rows = std::min(size.s, kAttentionRows);
    runs = scratch.Take<KeyRun>(size.s);
    scores = scratch.Take<W>(size.block());
    most = scratch.Take<W>(rows);
    sum = scratch.Take<W>(rows);
    o = scratch.Take<W>(rows * size.dv);
    if (!std::is_same_v<T, W>) p = scratch.Take<T>(size.block());
  }
  KeyRun* runs;
  W *scores, *most, *sum, *o;
  T* p = nullptr;  // the scores as an operand, bf16 and f16 only
};

struct AttentionOperands {
  const Operand &q, &k, &v;
  const Operand *visible, *o_before, *lse_before;  // nullptr: absent
  const Operand &o, &lse;
};

// Of operands in T, with o in O: T or the type of the sums.
template <typename T, typename O>
class Attention {
 public:
  Attention(const KernelContext& c, const AttentionOperands& x)
      : x_(x),
        size_(x.q.shape, x.k.shape, x.v.shape),
        scratch_(c.workspace),
        buffers_(scratch_, size_),
        scale_(AttentionScale(*c.attrs, size_.d)),
        mask_(MaskOf(*c.attrs)) {
    FindKeyRuns(x_.q, x_.k, nullptr, mask_, 0, buffers_.runs);
  }

  absl::Status Run() {
    return ForEachHeadGroup(x_.q, x_.k, size_, [&](const HeadGroup& group) {
      if (x_.visible != nullptr && group.kv == 0) {
        FindKeyRuns(x_.q, x_.k, x_.visible, mask_, group.batch, buffers_.runs);
      }
      const Matrix<const T> k = MatrixOf(HeadOf<T>(x_.k, group.batch, group.kv), 0);
      const Matrix<const T> v = MatrixOf(HeadOf<T>(x_.v, group.batch, group.kv), 0);
      for (int64_t head = group.first; head < group.last; ++head) {
        const HeadResults results = ResultsOf(group.batch, head);
        WEFT_RETURN_IF_ERROR(
            ForEachTile(size_, scale_, buffers_.runs, HeadOf<T>(x_.q, group.batch, head), k, v,
                        [&](const AttentionTile<T>& tile) { return Attend(tile, results); }));
      }
      return absl::OkStatus();
    });
  }

 private:
  using W = ArithmeticOf<T>;

  // The rows of one head; no data where nobody reads them, or nothing came before.
  struct HeadResults {
    HeadRows<O> o;
    HeadRows<W> lse, o_before, lse_before;
  };

  HeadResults ResultsOf(int64_t batch, int64_t head) const {
    return {HeadOf<O>(x_.o, batch, head), StatisticsOfHead<W>(&x_.lse, batch, head),
            x_.o_before == nullptr ? HeadRows<W>{} : HeadOf<W>(*x_.o_before, batch, head),
            StatisticsOfHead<W>(x_.lse_before, batch, head)};
  }

  absl::Status Attend(const AttentionTile<T>& tile, const HeadResults& head) {
    const Matrix<W> sums = head.o.data != nullptr ? SumsOf(head.o, tile.first, buffers_.o)
                                                  : Matrix<W>{buffers_.o, tile.dv, 1};
    Start(tile, sums, head);
    bool adds = head.o_before.data != nullptr;  // to what the rows have summed so far
    WEFT_RETURN_IF_ERROR(ForEachBlock(tile, buffers_.scores, [&](const KeyBlock& block) {
      SoftmaxBlock(tile, block, adds ? sums : Matrix<W>{nullptr, 0, 0});
      const absl::Status status =
          Gemm({tile.rows, tile.dv, block.count}, 1,
               AsOperand<T>(buffers_.scores, tile.rows, block.count, buffers_.p),
               From(tile.v, block.first), adds, sums);
      adds = true;
      return status;
    }));
    Finish(tile, sums, head.lse);
    StoreSums(sums, tile.rows, head.o, tile.first);
    return absl::OkStatus();
  }

  // What came before is a sum of 1 times exp(lse), and o. A row that saw nothing has a finite
  // maximum, so that the first block's factor is 0 and not NaN.
  void Start(const AttentionTile<T>& tile, const Matrix<W>& sums, const HeadResults& head) {
    if (head.o_before.data != nullptr) {
      StartSums(sums, tile.rows, tile.dv, head.o_before, tile.first);
    }
    for (int64_t i = 0; i < tile.rows; ++i) {
      const W before = head.lse_before.data == nullptr ? -std::numeric_limits<W>::infinity()
                                                       : *head.lse_before.row(tile.first + i);
      const bool blind = before == -std::numeric_limits<W>::infinity();
      buffers_.most[i] = blind ? std::numeric_limits<W>::lowest() : before;
      buffers_.sum[i] = blind ? 0 : 1;
      if (blind && head.o_before.data != nullptr) {
        std::fill_n(From(sums, i).data, tile.dv, W(0));
      }
    }
  }

  // Turns a block's scores into exp(score - most), and rescales what the rows have summed so far,
  // if anything.
  void SoftmaxBlock(const AttentionTile<T>& tile, const KeyBlock& block, const Matrix<W>& sums) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      W* row = buffers_.scores + i * block.count;
      const KeyRun seen = block.SeenBy(tile, i);
      ClearUnseen(row, seen, block.count);
      if (seen.empty()) continue;
      row += seen.from;
      const int64_t n = seen.to - seen.from;
      W &most = buffers_.most[i], &sum = buffers_.sum[i];
      const W now = std::max(most, RowMax(row, n));
      const W keep = std::exp(most - now);
      sum = sum * keep + RowExp(row, n, now);
      most = now;
      if (sums.data != nullptr && keep != 1) RowScale(From(sums, i).data, tile.dv, keep);
    }
  }

  // Divides by the sums and stores lse of the tile's rows; one that sees no key has o = 0.
  void Finish(const AttentionTile<T>& tile, const Matrix<W>& sums, const HeadRows<W>& lse) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      const W most = buffers_.most[i], sum = buffers_.sum[i];
      const bool blind = sum == 0;
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

  const AttentionOperands& x_;
  AttentionSize size_;
  Scratch scratch_;
  AttentionBuffers<T> buffers_;
  double scale_;
  AttentionMask mask_;
};

}  // namespace

absl::Status AttentionCpu(const KernelContext& k) {
  const AttentionOperands x{k.in(0), k.in(1), k.in(2),  GivenInput(k, 3),
                            nullptr, nullptr, k.out(0), k.out(1)};
  return RunForFloat(k.in(0).dtype(), [&](auto type) {
    using T = decltype(type);
    return Attention<T, T>(k, x).Run();
  });
}

absl::Status AttentionBlockCpu(const KernelContext& k) {
  const AttentionOperands x{k.in(0),          k.in(1),          k.in(2),  GivenInput(k, 5),
                            GivenInput(k, 3), GivenInput(k, 4), k.out(0), k.out(1)};
  const DType dtype = k.in(0).dtype();
  const bool wide = BlockResultDType(*k.attrs, dtype) == WideDType(dtype);
  return RunForFloat(dtype, [&](auto type) {
    using T = decltype(type);
    return wide ? Attention<T, ArithmeticOf<T>>(k, x).Run() : Attention<T, T>(k, x).Run();
  });
}

int64_t AttentionWorkspace(const CostContext& c) {
  return BufferBytes<AttentionBuffers>(
      c.inputs[0].dtype, AttentionSize(c.inputs[0].shape, c.inputs[1].shape, c.inputs[2].shape));
}

}  // namespace weft
