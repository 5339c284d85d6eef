// How the CUDA kernels of head_cross_entropy and of its gradients cut the matrix of logits, and
// their scratch.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/types/span.h"
#include "kernels/device_workspace.h"
#include "kernels/scratch.h"
#include "runtime/dtype.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Local extents, and those of one piece: at most 64 Mi logits, over as many rows as may be (16384),
// so that each gradient of the weights is one product over all of them.
struct HeadPieces {
  HeadPieces(absl::Span<const int64_t> x, absl::Span<const int64_t> w)
      : rows(NumElements(x.first(x.size() - 1))),
        vocab(w[0]),
        hidden(w[1]),
        piece_rows(std::min(rows, kMostRows)) {
    const int64_t most = std::max<int64_t>(kMostLogits / std::max<int64_t>(piece_rows, 1), 16);
    const int64_t pieces = std::max<int64_t>((vocab + most - 1) / most, 1);
    // Equal pieces, of multiples of 16 so that products stay aligned.
    piece_vocab = std::min(vocab, ((vocab + pieces - 1) / pieces + 15) / 16 * 16);
  }
  bool empty() const { return rows == 0 || vocab == 0; }
  // Operations of each product of a piece.
  double flops() const {
    return 2.0 * static_cast<double>(piece_rows) * static_cast<double>(piece_vocab) *
           static_cast<double>(hidden);
  }

  static constexpr int64_t kMostRows = 16384;
  static constexpr int64_t kMostLogits = int64_t{64} << 20;
  int64_t rows, vocab, hidden, piece_rows, piece_vocab = 0;
};

// Forward and backward buffers; W is the type of the logits, f64 or f32.
template <typename W>
struct HeadScratch {
  // `narrow`: results are narrower than W, so that sums over pieces need buffers.
  HeadScratch(Scratch& scratch, const HeadPieces& p, bool grad, bool narrow) {
    logits = scratch.Take<W>(p.piece_rows * p.piece_vocab);
    if (!grad) {
      most = scratch.Take<W>(p.rows);
      sum = scratch.Take<W>(p.rows);
    } else if (narrow) {
      if (p.piece_vocab < p.vocab) dx = scratch.Take<W>(p.rows * p.hidden);
      if (p.piece_rows < p.rows) dw = scratch.Take<W>(p.piece_vocab * p.hidden);
    }
    matmul_bytes = MatmulWorkspaceFor(p.flops());
    if (matmul_bytes > 0) matmul = scratch.Take<char>(matmul_bytes);
  }
  W* logits = nullptr;
  W *most = nullptr, *sum = nullptr;
  W *dx = nullptr, *dw = nullptr;
  char* matmul = nullptr;
  int64_t matmul_bytes = 0;
};

// Local extents where a rank has the whole vocabulary, and those of the pieces of a call that makes
// logits once: pieces of whole rows whose logits are wide, and groups of pieces whose gradients
// are kept as they are stored, over which the products of the backward pass run.
struct HeadGroups {
  // `stored`: bytes of a stored element.
  HeadGroups(absl::Span<const int64_t> x, absl::Span<const int64_t> w, int64_t stored)
      : rows(NumElements(x.first(x.size() - 1))), vocab(w[0]), hidden(w[1]) {
    const int64_t row = std::max<int64_t>(vocab, 1);
    group_rows = Equal(rows, std::max(kLeastRows, kMostBytes / (row * stored)));
    piece_rows = Equal(group_rows, std::max(kLeastRows, kMostLogits / row));
  }
  bool empty() const { return rows == 0 || vocab == 0; }
  // Operations of each product of a group.
  double flops() const {
    return 2.0 * static_cast<double>(group_rows) * static_cast<double>(vocab) *
           static_cast<double>(hidden);
  }

  // Fewer rows would leave much of a device idle, and w be read too often.
  static constexpr int64_t kLeastRows = 2048;
  static constexpr int64_t kMostLogits = int64_t{64} << 20;  // of a piece
  static constexpr int64_t kMostBytes = int64_t{1} << 30;    // of a group's gradients
  int64_t rows, vocab, hidden, group_rows = 0, piece_rows = 0;

 private:
  // Equal parts of `n`, of at most `most` or little more, multiples of 16 so that products stay
  // aligned.
  static int64_t Equal(int64_t n, int64_t most) {
    const int64_t parts = std::max<int64_t>((n + most - 1) / most, 1);
    return std::min(n, ((n + parts - 1) / parts + 15) / 16 * 16);
  }
};

// Its buffers; T is the storage type and W that of logits. Where they are one, logits become their
// gradients in place and dw is summed in the result.
template <typename W, typename T>
struct HeadGroupScratch {
  HeadGroupScratch(Scratch& scratch, const HeadGroups& g) {
    gradients = scratch.Take<T>(g.group_rows * g.vocab);
    if (sizeof(T) < sizeof(W)) {
      logits = scratch.Take<W>(g.piece_rows * g.vocab);
      if (g.group_rows < g.rows) dw = scratch.Take<W>(g.vocab * g.hidden);
    }
    matmul_bytes = MatmulWorkspaceFor(g.flops());
    if (matmul_bytes > 0) matmul = scratch.Take<char>(matmul_bytes);
  }
  T* gradients = nullptr;
  W *logits = nullptr, *dw = nullptr;
  char* matmul = nullptr;
  int64_t matmul_bytes = 0;
};

}  // namespace weft
