// head_cross_entropy and its gradient on CUDA: pieces of the logits by cuBLASLt, read once by the
// kernels here, which in the backward pass leave the logits' gradients in their place.
#include <cmath>
#include <limits>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_head.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"
#include "kernels/head_pieces.h"
#include "runtime/status.h"

namespace weft {
namespace {

template <typename W>
__global__ void __launch_bounds__(kBlockThreads)
    StartKernel(W* most, W* sum, W* target, int64_t rows) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < rows;
       i += step) {
    most[i] = std::numeric_limits<W>::lowest();  // finite: the first fold's factor is 0, not NaN
    sum[i] = 0;
    if (target != nullptr) target[i] = 0;
  }
}

// Folds a piece into the rows' running maxima and sums of exponentials; a block has a row.
template <int N, typename W>
__global__ void __launch_bounds__(kBlockThreads)
    FoldKernel(const W* logits, HeadPiece piece, HeadTargets targets, W* most, W* sum, W* target) {
  for (int64_t i = blockIdx.x; i < piece.rows; i += gridDim.x) {
    const W* row = logits + i * piece.vocab;
    const int64_t at = piece.row + i;
    W mine = std::numeric_limits<W>::lowest(), total = 0;
    for (int64_t j = static_cast<int64_t>(threadIdx.x) * N; j < piece.vocab;
         j += static_cast<int64_t>(blockDim.x) * N) {
      W v[N];
      LoadPack<N>(row + j, v);
      W now = mine;
#pragma unroll
      for (int n = 0; n < N; ++n) now = MaxOf()(now, v[n]);
      total *= std::exp(mine - now);
#pragma unroll
      for (int n = 0; n < N; ++n) total += std::exp(v[n] - now);
      mine = now;
    }
    const W now = MaxOf()(most[at], BlockReduce(mine, std::numeric_limits<W>::lowest(), MaxOf()));
    total = BlockSum(total * std::exp(mine - now));
    const int64_t column = targets.ColumnOf(at, piece);
    if (threadIdx.x != 0) continue;
    if (target != nullptr && column >= 0) target[at] = row[column];
    sum[at] = sum[at] * std::exp(most[at] - now) + total;
    most[at] = now;
  }
}

template <typename W>
__global__ void __launch_bounds__(kBlockThreads)
    LseKernel(const W* most, const W* sum, W* lse, int64_t rows, bool empty) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < rows;
       i += step) {
    lse[i] = empty ? -std::numeric_limits<W>::infinity() : most[i] + std::log(sum[i]);
  }
}

// logits -> exp(logits - lse) dlse, with dtarget at the target, narrowed to T in place: row i of T
// starts where row i of the logits did.
template <int N, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    LogitGradKernel(WideOf<T>* logits, HeadPiece piece, HeadTargets targets, const WideOf<T>* lse,
                    const WideOf<T>* dlse, const WideOf<T>* dtarget) {
  using W = WideOf<T>;
  const int64_t tile = static_cast<int64_t>(blockDim.x) * N;
  for (int64_t i = blockIdx.x; i < piece.rows; i += gridDim.x) {
    W* row = logits + i * piece.vocab;
    T* to = reinterpret_cast<T*>(row);
    const int64_t at = piece.row + i, column = targets.ColumnOf(at, piece);
    const W shift = lse[at], factor = dlse[at];
    for (int64_t begin = 0; begin < piece.vocab; begin += tile) {
      const int64_t j = begin + static_cast<int64_t>(threadIdx.x) * N;
      W v[N];
      if (j < piece.vocab) LoadPack<N>(row + j, v);
      __syncthreads();  // what is written next lies over what others of the tile have read
      if (j >= piece.vocab) continue;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        v[n] = factor == 0 ? W(0) : std::exp(v[n] - shift) * factor;
        if (j + n == column) v[n] += dtarget[at];
      }
      StorePack<N>(v, to + j);
    }
  }
}

// What the products of all pieces have in common.
template <typename T>
struct Head {
  using W = WideOf<T>;
  static constexpr int N = kPackOf<W>;

  Head(const KernelContext& context, bool grad)
      : k(context),
        pieces(k.in(0).shape, k.in(1).shape),
        scratch(k.workspace),
        buffers(scratch, pieces, grad, !std::is_same_v<T, W>),
        products(k, buffers.matmul, buffers.matmul_bytes) {}

  // Pieces in the order of vocabulary, then rows.
  template <typename F>
  absl::Status ForEachPiece(F&& f) {
    for (int64_t v = 0; v < pieces.vocab; v += pieces.piece_vocab) {
      for (int64_t r = 0; r < pieces.rows; r += pieces.piece_rows) {
        const HeadPiece piece{r, std::min(pieces.piece_rows, pieces.rows - r), v,
                              std::min(pieces.piece_vocab, pieces.vocab - v)};
        WEFT_RETURN_IF_ERROR(f(piece));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Forward() {
    WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(k));
    WEFT_ASSIGN_OR_RETURN(const HeadTargets targets, HeadTargetsOf(k, *handles, CudaFault::kHead));
    W* lse = k.out(0).as<W>();
    W* target = k.out(1).as<W>();
    const LaunchShape each{GridFor(pieces.rows), kBlockThreads};
    WEFT_RETURN_IF_ERROR(
        Launch(k, &StartKernel<W>, each, buffers.most, buffers.sum, target, pieces.rows));
    WEFT_RETURN_IF_ERROR(ForEachPiece([&](const HeadPiece& p) {
      WEFT_RETURN_IF_ERROR(products.Logits(p, buffers.logits));
      const auto kernel = p.vocab % N == 0 ? &FoldKernel<N, W> : &FoldKernel<1, W>;
      return Launch(k, kernel, {GridFor(p.rows, 1), kBlockThreads}, buffers.logits, p, targets,
                    buffers.most, buffers.sum, target);
    }));
    if (lse == nullptr) return absl::OkStatus();
    return Launch(k, &LseKernel<W>, each, buffers.most, buffers.sum, lse, pieces.rows,
                  pieces.vocab == 0);
  }

  absl::Status Backward() {
    WEFT_ASSIGN_OR_RETURN(CudaHandles * handles, HandlesOf(k));
    WEFT_ASSIGN_OR_RETURN(const HeadTargets targets,
                          HeadTargetsOf(k, *handles, CudaFault::kHeadGrad));
    const Operand &dx = k.out(0), &dw = k.out(1);
    if (pieces.empty() || pieces.hidden == 0) {
      WEFT_RETURN_IF_ERROR(products.Clear(dx));
      return k.adds(1) ? absl::OkStatus() : products.Clear(dw);
    }
    WEFT_RETURN_IF_ERROR(ForEachPiece([&](const HeadPiece& p) {
      WEFT_RETURN_IF_ERROR(products.Logits(p, buffers.logits));
      const auto kernel = p.vocab % N == 0 ? &LogitGradKernel<N, T> : &LogitGradKernel<1, T>;
      WEFT_RETURN_IF_ERROR(Launch(k, kernel, {GridFor(p.rows, 1), kBlockThreads}, buffers.logits, p,
                                  targets, k.in(3).as<W>(), k.in(4).as<W>(), k.in(5).as<W>()));
      if (dx.data != nullptr) WEFT_RETURN_IF_ERROR(AddDx(p, dx));
      return dw.data == nullptr ? absl::OkStatus() : AddDw(p, dw);
    }));
    if (buffers.dx == nullptr || dx.data == nullptr) return absl::OkStatus();
    return products.Store(buffers.dx, dx.as<T>(), dx.elements(), false);
  }

  // Elements of T between rows of the logits' gradients.
  int64_t Pitch(const HeadPiece& p) const {
    return p.vocab * static_cast<int64_t>(sizeof(W) / sizeof(T));
  }

  absl::Status AddDx(const HeadPiece& p, const Operand& out) {
    const int64_t at = p.row * pieces.hidden;
    const bool adds = p.first > 0;
    if (buffers.dx == nullptr) {
      return products.Dx(p, buffers.logits, Pitch(p), adds, out.as<T>() + at, products.dtype());
    }
    return products.Dx(p, buffers.logits, Pitch(p), adds, buffers.dx + at, products.wide());
  }

  absl::Status AddDw(const HeadPiece& p, const Operand& out) {
    T* const result = out.as<T>() + p.first * pieces.hidden;
    if (buffers.dw == nullptr) {
      return products.Dw(p, buffers.logits, Pitch(p), p.row > 0 || k.adds(1), result,
                         products.dtype());
    }
    WEFT_RETURN_IF_ERROR(
        products.Dw(p, buffers.logits, Pitch(p), p.row > 0, buffers.dw, products.wide()));
    if (p.row + p.rows < pieces.rows) return absl::OkStatus();
    return products.Store(buffers.dw, result, p.vocab * pieces.hidden, k.adds(1));
  }

  const KernelContext& k;
  HeadPieces pieces;
  Scratch scratch;
  HeadScratch<W> buffers;
  HeadProducts<T> products;
};

absl::Status HeadCuda(const KernelContext& k) {
  return DispatchCudaFloat(k.in(0).dtype(),
                           [&](auto t) { return Head<decltype(t)>(k, false).Forward(); });
}

absl::Status HeadGradCuda(const KernelContext& k) {
  return DispatchCudaFloat(k.in(0).dtype(),
                           [&](auto t) { return Head<decltype(t)>(k, true).Backward(); });
}

}  // namespace

void AddHeadCrossEntropyCuda(KernelTable& kernels) {
  kernels.Add("head_cross_entropy", HeadCuda);
  kernels.Add("head_cross_entropy_grad", HeadGradCuda);
}

}  // namespace weft
