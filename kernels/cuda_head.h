// What the CUDA kernels of the fused head and loss have in common: the targets, the products that
// make and take logits, and sums in a wider type than results.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda_element.h"
#include "kernels/cuda_fault.h"
#include "kernels/cuda_index_set.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_matmul.h"
#include "runtime/cuda_status.h"
#include "runtime/status.h"

namespace weft {

// One piece of the logits' matrix: rows [row, row + rows), vocabulary [first, first + vocab).
struct HeadPiece {
  int64_t row, rows, first, vocab;
};

struct HeadTargets {
  const int32_t* ids;
  CudaIndexSet vocab;
  int64_t vocabulary;
  CudaFault* fault;
  CudaFault::Op op;

  // Column of the row's target in the piece, or -1.
  __device__ int64_t ColumnOf(int64_t row, const HeadPiece& piece) const {
    const int32_t id = ids[row];
    if (id < 0) return -1;
    if (id >= vocabulary) {
      if (threadIdx.x == 0) ReportFault(fault, op, id, vocabulary);
      return -1;
    }
    const int64_t column = vocab.ToLocal(id) - piece.first;
    return column >= 0 && column < piece.vocab ? column : -1;
  }
};

inline absl::StatusOr<HeadTargets> HeadTargetsOf(const KernelContext& k, CudaHandles& handles,
                                                 CudaFault::Op op) {
  WEFT_ASSIGN_OR_RETURN(const CudaIndexSet vocab, CudaIndexSet::Of(k.in(1).box->dims[0]));
  return HeadTargets{k.in(2).as<int32_t>(), vocab, k.in(1).logical->shape[0], handles.fault(), op};
}

// to = from, or to + from, narrowed.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    StoreSumsKernel(const WideOf<T>* from, T* to, int64_t n, bool adds) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    to[i] = Narrow<T>(adds ? from[i] + Widen(to[i]) : from[i]);
  }
}

// The products of one call, of operands x [rows, hidden] and w [vocabulary, hidden] of type T.
template <typename T>
struct HeadProducts {
  using W = WideOf<T>;

  HeadProducts(const KernelContext& context, void* workspace, int64_t bytes)
      : k(context), hidden(k.in(1).shape[1]), matmul(workspace), matmul_bytes(bytes) {}

  const T* x(const HeadPiece& p) const { return k.in(0).as<T>() + p.row * hidden; }
  const T* w(const HeadPiece& p) const { return k.in(1).as<T>() + p.first * hidden; }
  DType dtype() const { return k.in(0).dtype(); }
  DType wide() const { return dtype() == DType::kF64 ? DType::kF64 : DType::kF32; }

  absl::Status Product(const MatmulSize& size, const MatmulView& a, const MatmulView& b, bool adds,
                       const MatmulTarget& c) const {
    return MatmulCuda(k, size, a, b, adds ? c.data : nullptr, c, matmul, matmul_bytes);
  }
  // logits = x w', wide, of the piece.
  absl::Status Logits(const HeadPiece& p, W* logits) const {
    if (hidden == 0) {
      return CudaStatus(cudaMemsetAsync(logits, 0, p.rows * p.vocab * sizeof(W), StreamOf(k)),
                        "logits of nothing");
    }
    return Product({p.rows, p.vocab, hidden}, {x(p), dtype(), hidden, 1},
                   {w(p), dtype(), 1, hidden}, false, {logits, wide(), p.vocab, 1});
  }
  // dx = dlogits w, from gradients whose rows are `pitch` apart.
  absl::Status Dx(const HeadPiece& p, const void* dlogits, int64_t pitch, bool adds, void* dx,
                  DType result) const {
    return Product({p.rows, hidden, p.vocab}, {dlogits, dtype(), pitch, 1},
                   {w(p), dtype(), hidden, 1}, adds, {dx, result, hidden, 1});
  }
  // dw = dlogits' x.
  absl::Status Dw(const HeadPiece& p, const void* dlogits, int64_t pitch, bool adds, void* dw,
                  DType result) const {
    return Product({p.vocab, hidden, p.rows}, {dlogits, dtype(), 1, pitch},
                   {x(p), dtype(), hidden, 1}, adds, {dw, result, hidden, 1});
  }
  // to = from, or to + from.
  absl::Status Store(const W* from, T* to, int64_t n, bool adds) const {
    return Launch(k, &StoreSumsKernel<T>, {GridFor(n), kBlockThreads}, from, to, n, adds);
  }
  absl::Status Clear(const Operand& out) const {
    if (out.data == nullptr || out.elements() == 0) return absl::OkStatus();
    return CudaStatus(
        cudaMemsetAsync(out.data, 0, out.elements() * SizeOf(out.dtype()), StreamOf(k)),
        "gradient of nothing");
  }

  const KernelContext& k;
  int64_t hidden;
  void* matmul;
  int64_t matmul_bytes;
};

}  // namespace weft
