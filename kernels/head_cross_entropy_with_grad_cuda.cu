// head_cross_entropy_with_grad on CUDA: logits of a piece of rows by cuBLASLt, read by one kernel
// that writes the rows' statistics and the logits' gradients, then the two products of a group of
// pieces.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_head.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/head_pieces.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Results, in order.
enum Result : int { kLse, kTarget, kDx, kDw };

constexpr int kRowThreads = 1024;
// Bytes of logits that all blocks work on at one time: less than the cache that they share, so that
// what they read again comes from there.
constexpr int64_t kBytesInCache = int64_t{32} << 20;

// What a row brings, and its statistics (nullptr: unread), by row of the call.
template <typename W>
struct RowValues {
  const W *dlse, *dtarget;
  W *lse, *target;
};

// lse of each row, then exp(logits - lse) dlse, with dtarget at the target; a block has a row.
// Gradients may lie where the logits do.
template <int N, typename T>
__global__ void __launch_bounds__(kRowThreads, sizeof(WideOf<T>) == 4 ? 2 : 1)
    SoftmaxWithGradKernel(const WideOf<T>* logits, T* gradients, HeadPiece piece,
                          HeadTargets targets, RowValues<WideOf<T>> values) {
  using W = WideOf<T>;
  const int vocab = static_cast<int>(piece.vocab);  // targets are i32
  const int first = static_cast<int>(threadIdx.x) * N, step = static_cast<int>(blockDim.x) * N;
  for (int64_t i = blockIdx.x; i < piece.rows; i += gridDim.x) {
    const W* row = logits + i * vocab;
    T* to = gradients + i * vocab;
    const int64_t at = piece.row + i;
    const int column = static_cast<int>(targets.ColumnOf(at, piece));
    if (threadIdx.x == 0 && values.target != nullptr) {
      values.target[at] = column < 0 ? W(0) : row[column];
    }
    // Finite, so that factors exp(most - now) are 0 and not NaN.
    W most = std::numeric_limits<W>::lowest(), sum = 0;
    for (int j = first; j < vocab; j += step) {
      W v[N];
      LoadPack<N>(row + j, v);
      W now = most;
#pragma unroll
      for (int n = 0; n < N; ++n) now = MaxOf()(now, v[n]);
      sum *= std::exp(most - now);
#pragma unroll
      for (int n = 0; n < N; ++n) sum += std::exp(v[n] - now);
      most = now;
    }
    const W now = BlockReduce(most, std::numeric_limits<W>::lowest(), MaxOf());
    const W lse = now + std::log(BlockSum(sum * std::exp(most - now)));
    if (threadIdx.x == 0 && values.lse != nullptr) values.lse[at] = lse;
    const W factor = values.dlse[at];
    for (int j = first; j < vocab; j += step) {
      W v[N] = {};
      if (factor != 0) {
        LoadPack<N>(row + j, v);
#pragma unroll
        for (int n = 0; n < N; ++n) v[n] = std::exp(v[n] - lse) * factor;
      }
      const int into = column - j;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        if (into == n) v[n] += values.dtarget[at];
      }
      StorePack<N>(v, to + j);
    }
  }
}

// Where there is no logit.
template <typename W>
__global__ void __launch_bounds__(kBlockThreads) EmptyRowsKernel(W* lse, W* target, int64_t rows) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < rows;
       i += step) {
    if (lse != nullptr) lse[i] = -std::numeric_limits<W>::infinity();
    if (target != nullptr) target[i] = 0;
  }
}

template <typename T>
struct HeadWithGrad {
  using W = WideOf<T>;
  static constexpr int N = kPackOf<W>;

  explicit HeadWithGrad(const KernelContext& context)
      : k(context),
        groups(k.in(0).shape, k.in(1).shape, sizeof(T)),
        scratch(k.workspace),
        buffers(scratch, groups),
        products(k, buffers.matmul, buffers.matmul_bytes) {}

  absl::Status Run() {
    if (groups.empty()) return Empty();
    WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(k));
    // Faults are told as the op's that users wrote.
    WEFT_ASSIGN_OR_RETURN(const HeadTargets targets, HeadTargetsOf(k, *handles, CudaFault::kHead));
    // A block on each multiprocessor at least; more, which take turns, where rows are short.
    const int64_t least = handles->multiprocessors();
    const int64_t row_bytes = groups.vocab * static_cast<int64_t>(sizeof(W));
    blocks = std::clamp(kBytesInCache / row_bytes, least, 8 * least);
    for (int64_t r = 0; r < groups.rows; r += groups.group_rows) {
      const HeadPiece group{r, std::min(groups.group_rows, groups.rows - r), 0, groups.vocab};
      for (int64_t i = 0; i < group.rows; i += groups.piece_rows) {
        const HeadPiece piece{r + i, std::min(groups.piece_rows, group.rows - i), 0, groups.vocab};
        WEFT_RETURN_IF_ERROR(Softmax(piece, targets, buffers.gradients + i * groups.vocab));
      }
      if (groups.hidden > 0) WEFT_RETURN_IF_ERROR(Gradients(group));
    }
    return absl::OkStatus();
  }

  absl::Status Empty() {
    WEFT_RETURN_IF_ERROR(products.Clear(k.out(kDx)));
    if (!k.adds(kDw)) WEFT_RETURN_IF_ERROR(products.Clear(k.out(kDw)));
    return Launch(k, &EmptyRowsKernel<W>, {GridFor(groups.rows), kBlockThreads},
                  k.out(kLse).as<W>(), k.out(kTarget).as<W>(), groups.rows);
  }

  absl::Status Softmax(const HeadPiece& piece, const HeadTargets& targets, T* gradients) {
    W* logits = buffers.logits;
    if constexpr (std::is_same_v<T, W>) logits = gradients;
    WEFT_RETURN_IF_ERROR(products.Logits(piece, logits));
    const auto kernel =
        groups.vocab % N == 0 ? &SoftmaxWithGradKernel<N, T> : &SoftmaxWithGradKernel<1, T>;
    const LaunchShape shape{static_cast<unsigned>(std::min(piece.rows, blocks)), kRowThreads};
    const RowValues<W> values{k.in(3).as<W>(), k.in(4).as<W>(), k.out(kLse).as<W>(),
                              k.out(kTarget).as<W>()};
    return Launch(k, kernel, shape, logits, gradients, piece, targets, values);
  }

  absl::Status Gradients(const HeadPiece& group) {
    const Operand &dx = k.out(kDx), &dw = k.out(kDw);
    if (dx.data != nullptr) {
      WEFT_RETURN_IF_ERROR(products.Dx(group, buffers.gradients, groups.vocab, false,
                                       dx.as<T>() + group.row * groups.hidden, products.dtype()));
    }
    if (dw.data == nullptr) return absl::OkStatus();
    if (buffers.dw == nullptr) {
      return products.Dw(group, buffers.gradients, groups.vocab, group.row > 0 || k.adds(kDw),
                         dw.data, products.dtype());
    }
    WEFT_RETURN_IF_ERROR(products.Dw(group, buffers.gradients, groups.vocab, group.row > 0,
                                     buffers.dw, products.wide()));
    if (group.row + group.rows < groups.rows) return absl::OkStatus();
    return products.Store(buffers.dw, dw.as<T>(), dw.elements(), k.adds(kDw));
  }

  const KernelContext& k;
  HeadGroups groups;
  Scratch scratch;
  HeadGroupScratch<W, T> buffers;
  HeadProducts<T> products;
  int64_t blocks = 1;
};

absl::Status HeadWithGradCuda(const KernelContext& k) {
  return DispatchCudaFloat(k.in(0).dtype(),
                           [&](auto t) { return HeadWithGrad<decltype(t)>(k).Run(); });
}

}  // namespace

void AddHeadCrossEntropyWithGradCuda(KernelTable& kernels) {
  kernels.Add("head_cross_entropy_with_grad", HeadWithGradCuda);
}

}  // namespace weft
