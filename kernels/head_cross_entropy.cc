// head_cross_entropy: the head product and the loss in one, in blocks of rows and vocabulary, so
// that logits are never held whole. A rank may hold part of the vocabulary: its lse and target
// logit are then parts (logaddexp and sum).
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/grad_context.h"
#include "kernels/device_workspace.h"
#include "kernels/gemm.h"
#include "kernels/head_operands.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/row_math.h"
#include "kernels/scratch.h"
#include "kernels/token_loss.h"
#include "kernels/wide_row.h"

namespace weft {
namespace {

// A block of logits (2 MB of f32) stays in the outer cache between the product and its softmax.
constexpr int64_t kBlockRows = 256;
constexpr int64_t kBlockVocab = 2048;

// The workspace of both kernels; T is the storage type. Sums and the copy of a block that products
// read are for bf16 and f16 only.
template <typename T>
struct HeadBuffers {
  using W = ArithmeticOf<T>;
  HeadBuffers(Scratch& scratch, const HeadSize& size, bool grad) {
    const int64_t block = std::min(size.rows, kBlockRows) * std::min(size.vocab, kBlockVocab);
    logits = scratch.Take<W>(block);
    most = scratch.Take<W>(size.rows);
    sum = scratch.Take<W>(size.rows);
    if (!std::is_same_v<T, W> && grad) {
      stored = scratch.Take<T>(block);
      dx = scratch.Take<W>(size.rows * size.hidden);
      dw = scratch.Take<W>(std::min(size.vocab, kBlockVocab) * size.hidden);
    }
  }
  W* logits;
  W *most, *sum;
  T* stored = nullptr;
  W *dx = nullptr, *dw = nullptr;
};

// One block of the logits' matrix: rows [row, row + rows), vocabulary [first, first + vocab).
struct HeadBlock {
  int64_t row, rows, first, vocab;
};

// logits = x w' of the block, summed wide.
template <typename T>
absl::Status Logits(const HeadBlock& block, int64_t hidden, const T* x, const T* w,
                    ArithmeticOf<T>* logits) {
  return Gemm({block.rows, block.vocab, hidden}, 1, Matrix<const T>{x, hidden, 1},
              Matrix<const T>{w, 1, hidden}, false,
              Matrix<ArithmeticOf<T>>{logits, block.vocab, 1});
}

// Folds a block's logits into the running maximum and sum of each row; `target` may be nullptr.
template <typename W>
void Fold(const KernelContext& k, const HeadBlock& block, W* logits, W* most, W* sum, W* target) {
  for (int64_t i = 0; i < block.rows; ++i) {
    W* row = logits + i * block.vocab;
    const int64_t at = block.row + i;
    const int64_t local = LocalTarget(k, at);
    if (target != nullptr && local >= block.first && local < block.first + block.vocab) {
      target[at] = row[local - block.first];
    }
    const W now = std::max(most[at], RowMax(row, block.vocab));
    sum[at] = sum[at] * std::exp(most[at] - now) + RowExp(row, block.vocab, now);
    most[at] = now;
  }
}

template <typename T>
absl::Status Head(const KernelContext& k) {
  using W = ArithmeticOf<T>;
  WEFT_RETURN_IF_ERROR(CheckTargets(k, "head_cross_entropy"));
  const HeadSize size(k.in(0).shape, k.in(1).shape);
  Scratch scratch(k.workspace);
  HeadBuffers<T> buffers(scratch, size, false);
  W* lse = k.out(0).as<W>();
  W* target = k.out(1).as<W>();
  // Finite, so that the first fold's factor exp(most - now) is 0 and not NaN.
  std::fill_n(buffers.most, size.rows, std::numeric_limits<W>::lowest());
  std::fill_n(buffers.sum, size.rows, W(0));
  if (target != nullptr) std::fill_n(target, size.rows, W(0));
  for (int64_t v = 0; v < size.vocab; v += kBlockVocab) {
    const int64_t vocab = std::min(kBlockVocab, size.vocab - v);
    const T* w = k.in(1).as<T>() + v * size.hidden;
    for (int64_t r = 0; r < size.rows; r += kBlockRows) {
      const HeadBlock block{r, std::min(kBlockRows, size.rows - r), v, vocab};
      const T* x = k.in(0).as<T>() + r * size.hidden;
      WEFT_RETURN_IF_ERROR(Logits(block, size.hidden, x, w, buffers.logits));
      Fold(k, block, buffers.logits, buffers.most, buffers.sum, target);
    }
  }
  for (int64_t i = 0; lse != nullptr && i < size.rows; ++i) {
    lse[i] = size.vocab == 0 ? -std::numeric_limits<W>::infinity()
                             : buffers.most[i] + std::log(buffers.sum[i]);
  }
  return absl::OkStatus();
}

// logits -> exp(logits - lse) dlse, and dtarget at the target.
template <typename W>
void LogitGradients(const KernelContext& k, const HeadBlock& block, W* logits) {
  for (int64_t i = 0; i < block.rows; ++i) {
    W* row = logits + i * block.vocab;
    const int64_t at = block.row + i;
    LogitGradient(row, block.vocab, k.in(3).as<W>()[at], k.in(4).as<W>()[at]);
    const int64_t local = LocalTarget(k, at);
    if (local >= block.first && local < block.first + block.vocab) {
      row[local - block.first] += k.in(5).as<W>()[at];
    }
  }
}

template <typename T>
absl::Status HeadGrad(const KernelContext& k) {
  using W = ArithmeticOf<T>;
  WEFT_RETURN_IF_ERROR(CheckTargets(k, "head_cross_entropy_grad"));
  constexpr bool kInPlace = std::is_same_v<T, W>;
  const HeadSize size(k.in(0).shape, k.in(1).shape);
  const int64_t h = size.hidden;
  Scratch scratch(k.workspace);
  HeadBuffers<T> buffers(scratch, size, true);
  W* dx = buffers.dx;
  if constexpr (kInPlace) dx = k.out(0).as<W>();
  T* dw_out = k.out(1).as<T>();
  if (k.out(0).data == nullptr) dx = nullptr;
  if (dx != nullptr && size.vocab == 0) std::fill_n(dx, size.rows * h, W(0));
  if (dw_out != nullptr && size.rows == 0 && !k.adds(1)) {
    std::fill_n(dw_out, size.vocab * h, T());
  }
  for (int64_t v = 0; v < size.vocab; v += kBlockVocab) {
    const int64_t vocab = std::min(kBlockVocab, size.vocab - v);
    const T* w = k.in(1).as<T>() + v * h;
    W* dw = buffers.dw;
    if constexpr (kInPlace) dw = dw_out == nullptr ? nullptr : dw_out + v * h;
    for (int64_t r = 0; r < size.rows; r += kBlockRows) {
      const HeadBlock block{r, std::min(kBlockRows, size.rows - r), v, vocab};
      const T* x = k.in(0).as<T>() + r * h;
      WEFT_RETURN_IF_ERROR(Logits(block, h, x, w, buffers.logits));
      LogitGradients(k, block, buffers.logits);
      const T* dlogits = AsStored(buffers.logits, block.rows * vocab, buffers.stored);
      if (dx != nullptr) {
        WEFT_RETURN_IF_ERROR(Gemm({block.rows, h, vocab}, 1, Matrix<const T>{dlogits, vocab, 1},
                                  Matrix<const T>{w, h, 1}, v > 0, Matrix<W>{dx + r * h, h, 1}));
      }
      if (dw_out != nullptr) {
        WEFT_RETURN_IF_ERROR(Gemm({vocab, h, block.rows}, 1, Matrix<const T>{dlogits, 1, vocab},
                                  Matrix<const T>{x, h, 1}, r > 0 || (kInPlace && k.adds(1)),
                                  Matrix<W>{dw, h, 1}));
      }
    }
    if (dw_out != nullptr && size.rows > 0) {
      StoreSums(dw, k.adds(1), dw_out + v * h, vocab * h);
    }
  }
  if (!kInPlace && dx != nullptr) ConvertRow(k.out(0).as<T>(), dx, size.rows * h);
  return absl::OkStatus();
}

InferredSpecs InferHead(const InferContext& c) {
  WEFT_ASSIGN_OR_RETURN(const TensorSpec rows, CheckHead(c, "head_cross_entropy"));
  return std::vector<TensorSpec>{rows, rows};
}

InferredSpecs InferHeadGrad(const InferContext& c) {
  WEFT_ASSIGN_OR_RETURN(const TensorSpec rows, CheckHead(c, "head_cross_entropy_grad"));
  WEFT_RETURN_IF_ERROR(
      CheckHeadStatistics(c, "head_cross_entropy_grad", 3, rows, "lse, dlse and dtarget"));
  return std::vector<TensorSpec>{c.in(0), c.in(1)};
}

FactorMap HeadLayout(const LayoutContext& c, bool grad) {
  FactorMap map;
  std::vector<int> rows;
  for (int d = 0; d + 1 < c.in(0).rank(); ++d) {
    rows.push_back(map.Add({absl::StrCat("d", d), {}}));
    if (grad) map.factors.back().reduce = {Monoid::kSum};
  }
  const int vocab = map.Add({"vocab", {}});
  map.factors.back().reduce = grad ? std::vector<Monoid>{Monoid::kSum}
                                   : std::vector<Monoid>{Monoid::kLogAddExp, Monoid::kSum};
  std::vector<int> x = rows;
  x.push_back(kWhole);
  const std::vector<int> w = {vocab, kWhole};
  map.inputs = {x, w, rows};
  if (grad) {
    for (int i = 3; i < 6; ++i) map.inputs.push_back(rows);
    map.outputs = {x, w};
    map.linear = {{Monoid::kSum, {4, 5}}};
  } else {
    map.outputs = {rows, rows};
  }
  return map;
}

// Gradient of result i, zeros if nothing uses it.
Value GradOrZeros(GradContext& g, int i) {
  if (g.output_grad(i)) return g.output_grad(i);
  return g.Emit1("scale", {g.output(i)}, {{"factor", 0.0}});
}

template <bool kGrad>
int64_t HeadWorkspace(const CostContext& c) {
  const HeadSize size(c.inputs[0].shape, c.inputs[1].shape);
  Scratch scratch(nullptr);
  switch (c.inputs[0].dtype) {
    case DType::kF64: HeadBuffers<double>(scratch, size, kGrad); break;
    case DType::kBF16: HeadBuffers<BFloat16>(scratch, size, kGrad); break;
    case DType::kF16: HeadBuffers<Float16>(scratch, size, kGrad); break;
    default: HeadBuffers<float>(scratch, size, kGrad);
  }
  return scratch.used();
}

}  // namespace

void DefineHeadCrossEntropy(OpRegistry& ops) {
  DefineTokenLoss(ops);
  ops.Add({
      .name = "head_cross_entropy",
      .inputs = {"x", "w", "targets"},
      .outputs = {"lse", "target_logit"},
      .attrs = {},
      .infer = InferHead,
      .layout = [](const LayoutContext& c) { return HeadLayout(c, false); },
      .gradient = [](GradContext& g) -> std::vector<Value> {
        std::vector<Value> grads =
            g.Emit("head_cross_entropy_grad", {g.input(0), g.input(1), g.input(2), g.output(0),
                                               GradOrZeros(g, 0), GradOrZeros(g, 1)});
        return {grads[0], grads[1], Value()};
      },
      .cost = HeadCost<1>,
      .workspace = HeadWorkspace<false>,
      .cuda_workspace = HeadCudaWorkspace,
      .cpu =
          [](const KernelContext& k) {
            return RunForFloat(k.in(0).dtype(), [&](auto type) { return Head<decltype(type)>(k); });
          },
  });
  ops.Add({
      .name = "head_cross_entropy_grad",
      .inputs = {"x", "w", "targets", "lse", "dlse", "dtarget"},
      .outputs = {"dx", "dw"},
      .attrs = {},
      .infer = InferHeadGrad,
      .layout = [](const LayoutContext& c) { return HeadLayout(c, true); },
      .cost = HeadCost<3>,
      .workspace = HeadWorkspace<true>,
      .cuda_workspace = HeadGradCudaWorkspace,
      .cpu =
          [](const KernelContext& k) {
            return RunForFloat(k.in(0).dtype(),
                               [&](auto type) { return HeadGrad<decltype(type)>(k); });
          },
      .accumulates = {1},
  });
}

}  // namespace weft
