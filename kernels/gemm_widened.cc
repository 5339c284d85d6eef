#include "kernels/gemm_widened.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "kernels/wide_row.h"
#include "runtime/status.h"

namespace weft {
namespace {

// A piece is widened once and read by as many products as it has columns or rows; three of them in
// f32 are 12 MB.
constexpr int64_t kPiece = 1024;

template <typename T>
Matrix<T> From(const Matrix<T>& x, int64_t row, int64_t column) {
  return {x.data + row * x.row_stride + column * x.col_stride, x.row_stride, x.col_stride};
}

// How a matrix lies in lines of neighbours: rows if columns are neighbours, else columns.
template <typename T>
struct Lines {
  Lines(const Matrix<T>& x, int64_t rows, int64_t cols)
      : by_rows(x.col_stride == 1 || cols == 1),
        count(by_rows ? rows : cols),
        length(by_rows ? cols : rows),
        stride(by_rows ? x.row_stride : x.col_stride) {}
  bool by_rows;
  int64_t count, length, stride;
};

// A dense copy in f32 at `to`, in the order of the original.
template <typename T>
Matrix<float> Widen(const Matrix<T>& from, int64_t rows, int64_t cols, std::vector<float>& to) {
  const Lines<T> lines(from, rows, cols);
  to.resize(static_cast<size_t>(rows * cols));
  for (int64_t i = 0; i < lines.count; ++i) {
    ConvertRow(to.data() + i * lines.length, from.data + i * lines.stride, lines.length);
  }
  return lines.by_rows ? Matrix<float>{to.data(), cols, 1} : Matrix<float>{to.data(), 1, rows};
}

// Rounds what Widen has made, or the like, into `to`.
template <typename T>
void Round(const Matrix<float>& from, const Matrix<T>& to, int64_t rows, int64_t cols) {
  const Lines<T> lines(to, rows, cols);
  for (int64_t i = 0; i < lines.count; ++i) {
    ConvertRow(to.data + i * lines.stride, from.data + i * lines.length, lines.length);
  }
}

Matrix<const float> Const(const Matrix<float>& x) { return {x.data, x.row_stride, x.col_stride}; }

// c (+)= alpha a b, in pieces along k.
template <typename T>
absl::Status AddPieces(GemmSize size, double alpha, const Matrix<const T>& a,
                       const Matrix<const T>& b, bool accumulate, const Matrix<float>& c) {
  thread_local std::vector<float> wide_a, wide_b;
  for (int64_t k = 0; k < size.k; k += kPiece) {
    const int64_t depth = std::min(kPiece, size.k - k);
    WEFT_RETURN_IF_ERROR(
        Gemm({size.m, size.n, depth}, alpha, Const(Widen(From(a, 0, k), size.m, depth, wide_a)),
             Const(Widen(From(b, k, 0), depth, size.n, wide_b)), accumulate || k > 0, c));
  }
  return absl::OkStatus();
}

template <typename T, typename C>
absl::Status Multiply(GemmSize size, double alpha, const Matrix<const T>& a,
                      const Matrix<const T>& b, bool accumulate, const Matrix<C>& c) {
  thread_local std::vector<float> wide_c;
  for (int64_t i = 0; i < size.m; i += kPiece) {
    for (int64_t j = 0; j < size.n; j += kPiece) {
      const GemmSize piece{std::min(kPiece, size.m - i), std::min(kPiece, size.n - j), size.k};
      const Matrix<C> to = From(c, i, j);
      if constexpr (std::is_same_v<C, float>) {
        WEFT_RETURN_IF_ERROR(AddPieces(piece, alpha, From(a, i, 0), From(b, 0, j), accumulate, to));
      } else {
        const Matrix<float> sums = Widen(to, piece.m, piece.n, wide_c);
        WEFT_RETURN_IF_ERROR(
            AddPieces(piece, alpha, From(a, i, 0), From(b, 0, j), accumulate, sums));
        Round(sums, to, piece.m, piece.n);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status GemmWidened(GemmSize size, double alpha, Matrix<const BFloat16> a,
                         Matrix<const BFloat16> b, bool accumulate, Matrix<BFloat16> c) {
  return Multiply(size, alpha, a, b, accumulate, c);
}

absl::Status GemmWidened(GemmSize size, double alpha, Matrix<const BFloat16> a,
                         Matrix<const BFloat16> b, bool accumulate, Matrix<float> c) {
  return Multiply(size, alpha, a, b, accumulate, c);
}

absl::Status GemmWidened(GemmSize size, double alpha, Matrix<const Float16> a,
                         Matrix<const Float16> b, bool accumulate, Matrix<Float16> c) {
  return Multiply(size, alpha, a, b, accumulate, c);
}

absl::Status GemmWidened(GemmSize size, double alpha, Matrix<const Float16> a,
                         Matrix<const Float16> b, bool accumulate, Matrix<float> c) {
  return Multiply(size, alpha, a, b, accumulate, c);
}

}  // namespace weft
