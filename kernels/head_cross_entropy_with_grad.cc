// head_cross_entropy_with_grad: the head, its loss and their gradients in one, where a rank has the
// whole vocabulary and what arrives from the loss does not depend on the logits. Those of a block
// of rows are made once: lse, their gradients in their place, and both products of these.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/device_workspace.h"
#include "kernels/gemm.h"
#include "kernels/head_operands.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/row_math.h"
#include "kernels/scratch.h"
#include "kernels/wide_row.h"

namespace weft {
namespace {

constexpr char kName[] = "head_cross_entropy_with_grad";
// Rows whose logits are made at once: enough that adding up dw block by block costs little.
constexpr int64_t kBlockRows = 512;

// Results, in order.
enum Result : int { kLse, kTarget, kDx, kDw };

// T is the storage type. Sums, and the gradients of logits that products read, are for bf16 and f16
// only.
template <typename T>
struct Buffers {
  using W = ArithmeticOf<T>;
  Buffers(Scratch& scratch, const HeadSize& size) {
    const int64_t rows = std::min(size.rows, kBlockRows);
    logits = scratch.Take<W>(rows * size.vocab);
    if (std::is_same_v<T, W>) return;
    stored = scratch.Take<T>(rows * size.vocab);
    dx = scratch.Take<W>(rows * size.hidden);
    dw = scratch.Take<W>(size.vocab * size.hidden);
  }
  W* logits;
  T* stored = nullptr;
  W *dx = nullptr, *dw = nullptr;
};

// Statistics of the rows from `row` on; their logits become gradients.
template <typename W>
void Softmax(const KernelContext& k, int64_t row, int64_t rows, int64_t vocab, W* logits) {
  W* const lse = k.out(kLse).as<W>();
  W* const target = k.out(kTarget).as<W>();
  for (int64_t i = 0; i < rows; ++i, logits += vocab) {
    const int64_t at = row + i, column = LocalTarget(k, at);
    if (target != nullptr) target[at] = column < 0 ? W(0) : logits[column];
    // Finite where all logits are -inf, or there are none: lse is -inf then.
    const W most = std::max(std::numeric_limits<W>::lowest(), RowMax(logits, vocab));
    // exp(logits - most) is what the gradient needs too, but for a factor.
    const W sum = RowExp(logits, vocab, most), dlse = k.in(3).as<W>()[at];
    if (lse != nullptr) lse[at] = most + std::log(sum);
    if (dlse == 0) {
      std::fill_n(logits, vocab, W(0));
    } else {
      RowScale(logits, vocab, dlse / sum);
    }
    if (column >= 0) logits[column] += k.in(4).as<W>()[at];
  }
}

template <typename T>
absl::Status HeadWithGrad(const KernelContext& k) {
  using W = ArithmeticOf<T>;
  constexpr bool kInPlace = std::is_same_v<T, W>;
  WEFT_RETURN_IF_ERROR(CheckTargets(k, "head_cross_entropy"));  // the op that users wrote
  const HeadSize size(k.in(0).shape, k.in(1).shape);
  const int64_t h = size.hidden, vocab = size.vocab;
  Scratch scratch(k.workspace);
  Buffers<T> buffers(scratch, size);
  const T* w = k.in(1).as<T>();
  T* const dx = k.out(kDx).as<T>();
  T* const dw = k.out(kDw).as<T>();
  W* dw_sum = buffers.dw;
  if constexpr (kInPlace) dw_sum = dw;
  if (dw != nullptr && size.rows == 0 && !k.adds(kDw)) std::fill_n(dw, vocab * h, T());
  for (int64_t r = 0; r < size.rows; r += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, size.rows - r);
    const Matrix<const T> x{k.in(0).as<T>() + r * h, h, 1};
    WEFT_RETURN_IF_ERROR(Gemm({rows, vocab, h}, 1, x, Matrix<const T>{w, 1, h}, false,
                              Matrix<W>{buffers.logits, vocab, 1}));
    Softmax(k, r, rows, vocab, buffers.logits);
    const T* dlogits = AsStored(buffers.logits, rows * vocab, buffers.stored);
    if (dx != nullptr) {
      W* sum = buffers.dx;
      if constexpr (kInPlace) sum = dx + r * h;
      WEFT_RETURN_IF_ERROR(Gemm({rows, h, vocab}, 1, Matrix<const T>{dlogits, vocab, 1},
                                Matrix<const T>{w, h, 1}, false, Matrix<W>{sum, h, 1}));
      StoreSums(sum, false, dx + r * h, rows * h);
    }
    if (dw != nullptr) {
      WEFT_RETURN_IF_ERROR(Gemm({vocab, h, rows}, 1, Matrix<const T>{dlogits, 1, vocab}, x,
                                r > 0 || (kInPlace && k.adds(kDw)), Matrix<W>{dw_sum, h, 1}));
    }
  }
  if (dw != nullptr && size.rows > 0) StoreSums(dw_sum, k.adds(kDw), dw, vocab * h);
  return absl::OkStatus();
}

InferredSpecs Infer(const InferContext& c) {
  WEFT_ASSIGN_OR_RETURN(const TensorSpec rows, CheckHead(c, kName));
  WEFT_RETURN_IF_ERROR(CheckHeadStatistics(c, kName, 3, rows, "dlse and dtarget"));
  return std::vector<TensorSpec>{rows, rows, c.in(0), c.in(1)};
}

// The vocabulary is whole, since the gradients need the whole lse of every row.
FactorMap Layout(const LayoutContext& c) {
  FactorMap map;
  std::vector<int> rows;
  for (int d = 0; d + 1 < c.in(0).rank(); ++d) {
    rows.push_back(map.Add({absl::StrCat("d", d), {Monoid::kSum}}));
  }
  std::vector<int> x = rows;
  x.push_back(kWhole);
  const std::vector<int> w = {kWhole, kWhole};
  map.inputs = {x, w, rows, rows, rows};
  map.outputs = {rows, rows, x, w};
  return map;
}

int64_t Workspace(const CostContext& c) {
  const HeadSize size(c.inputs[0].shape, c.inputs[1].shape);
  Scratch scratch(nullptr);
  switch (c.inputs[0].dtype) {
    case DType::kF64: Buffers<double>(scratch, size); break;
    case DType::kBF16: Buffers<BFloat16>(scratch, size); break;
    case DType::kF16: Buffers<Float16>(scratch, size); break;
    default: Buffers<float>(scratch, size);
  }
  return scratch.used();
}

}  // namespace

void DefineHeadCrossEntropyWithGrad(OpRegistry& ops) {
  ops.Add({
      .name = kName,
      .inputs = {"x", "w", "targets", "dlse", "dtarget"},
      .outputs = {"lse", "target_logit", "dx", "dw"},
      .attrs = {},
      .infer = Infer,
      .layout = Layout,
      .cost = HeadCost<3>,
      .workspace = Workspace,
      .cuda_workspace = HeadWithGradCudaWorkspace,
      .cpu =
          [](const KernelContext& k) {
            return RunForFloat(k.in(0).dtype(),
                               [&](auto type) { return HeadWithGrad<decltype(type)>(k); });
          },
      .accumulates = {kDw},
      .merges = {"head_cross_entropy", "head_cross_entropy_grad"},
  });
}

}  // namespace weft
