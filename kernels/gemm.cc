#include "kernels/gemm.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/gemm_bf16.h"
#include "kernels/gemm_widened.h"
#include "kernels/single_thread.h"
#include "oneapi/dnnl/dnnl.h"

namespace weft {
namespace {

// How BLAS sees a strided matrix of rows x cols.
struct BlasView {
  char trans = 'N';
  int64_t ld = 1;
};

template <typename T>
BlasView ViewOf(const Matrix<T>& x, int64_t rows, int64_t cols) {
  if (x.col_stride == 1 || cols == 1) {
    return {'N', rows == 1 ? cols : std::max(x.row_stride, cols)};
  }
  return {'T', cols == 1 ? rows : std::max(x.col_stride, rows)};
}

template <typename T>
bool Regular(const Matrix<T>& x, int64_t rows, int64_t cols) {
  return (cols == 1 || x.col_stride == 1)
             ? rows == 1 || x.row_stride >= cols
             : (rows == 1 || x.row_stride == 1) && x.col_stride >= rows;
}

template <typename T>
Matrix<T> Transposed(const Matrix<T>& x) {
  return {x.data, x.col_stride, x.row_stride};
}

template <typename T>
void Clear(GemmSize size, const Matrix<T>& c) {
  for (int64_t i = 0; i < size.m; ++i) {
    for (int64_t j = 0; j < size.n; ++j) c.data[i * c.row_stride + j * c.col_stride] = T();
  }
}

// The cases that need no product, and the shapes that Gemm cannot take. True if all is done.
template <typename In, typename Out>
absl::StatusOr<bool> Trivial(GemmSize size, const Matrix<In>& a, const Matrix<In>& b,
                             bool accumulate, const Matrix<Out>& c) {
  if (size.m == 0 || size.n == 0) return true;
  if (size.k == 0) {
    if (!accumulate) Clear(size, c);
    return true;
  }
  if (!Regular(a, size.m, size.k) || !Regular(b, size.k, size.n) || !Regular(c, size.m, size.n)) {
    return absl::InternalError("gemm: an operand has no dimension of stride 1");
  }
  return false;
}

template <typename C>
absl::Status OfBF16(GemmSize size, double alpha, Matrix<const BFloat16> a, Matrix<const BFloat16> b,
                    bool accumulate, Matrix<C> c) {
  absl::StatusOr<bool> done = Trivial(size, a, b, accumulate, c);
  if (!done.ok() || *done) return done.status();
  ChooseOneThread();
  if (c.col_stride != 1 && size.n != 1) {  // oneDNN has only slow loops for other results
    return GemmBF16({size.n, size.m, size.k}, alpha, Transposed(b), Transposed(a), accumulate,
                    Transposed(c));
  }
  return GemmBF16(size, alpha, a, b, accumulate, c);
}

// oneDNN has f16 products for few CPUs.
template <typename C>
absl::Status OfF16(GemmSize size, double alpha, Matrix<const Float16> a, Matrix<const Float16> b,
                   bool accumulate, Matrix<C> c) {
  absl::StatusOr<bool> done = Trivial(size, a, b, accumulate, c);
  if (!done.ok() || *done) return done.status();
  return GemmWidened(size, alpha, a, b, accumulate, c);
}

}  // namespace

absl::Status Gemm(GemmSize size, double alpha, Matrix<const float> a, Matrix<const float> b,
                  bool accumulate, Matrix<float> c) {
  absl::StatusOr<bool> done = Trivial(size, a, b, accumulate, c);
  if (!done.ok() || *done) return done.status();
  ChooseOneThread();
  if (c.col_stride != 1 && size.n != 1) {  // C' = B' A'
    return Gemm({size.n, size.m, size.k}, alpha, Transposed(b), Transposed(a), accumulate,
                Transposed(c));
  }
  const BlasView va = ViewOf(a, size.m, size.k);
  const BlasView vb = ViewOf(b, size.k, size.n);
  const dnnl_status_t status = dnnl_sgemm(
      va.trans, vb.trans, size.m, size.n, size.k, static_cast<float>(alpha), a.data, va.ld, b.data,
      vb.ld, accumulate ? 1.0f : 0.0f, c.data, ViewOf(c, size.m, size.n).ld);
  if (status != dnnl_success) {
    return absl::InternalError(absl::StrCat("dnnl_sgemm of m=", size.m, " n=", size.n,
                                            " k=", size.k, " failed with status ", status));
  }
  return absl::OkStatus();
}

absl::Status Gemm(GemmSize size, double alpha, Matrix<const BFloat16> a, Matrix<const BFloat16> b,
                  bool accumulate, Matrix<BFloat16> c) {
  return OfBF16(size, alpha, a, b, accumulate, c);
}

absl::Status Gemm(GemmSize size, double alpha, Matrix<const BFloat16> a, Matrix<const BFloat16> b,
                  bool accumulate, Matrix<float> c) {
  return OfBF16(size, alpha, a, b, accumulate, c);
}

absl::Status Gemm(GemmSize size, double alpha, Matrix<const Float16> a, Matrix<const Float16> b,
                  bool accumulate, Matrix<Float16> c) {
  return OfF16(size, alpha, a, b, accumulate, c);
}

absl::Status Gemm(GemmSize size, double alpha, Matrix<const Float16> a, Matrix<const Float16> b,
                  bool accumulate, Matrix<float> c) {
  return OfF16(size, alpha, a, b, accumulate, c);
}

absl::Status Gemm(GemmSize size, double alpha, Matrix<const double> a, Matrix<const double> b,
                  bool accumulate, Matrix<double> c) {
  constexpr int64_t kBlock = 64;  // rows of B that stay in the first-level cache
  absl::StatusOr<bool> done = Trivial(size, a, b, accumulate, c);
  if (!done.ok() || *done) return done.status();
  if (!accumulate) Clear(size, c);
  for (int64_t k0 = 0; k0 < size.k; k0 += kBlock) {
    const int64_t k1 = std::min(size.k, k0 + kBlock);
    for (int64_t i = 0; i < size.m; ++i) {
      for (int64_t k = k0; k < k1; ++k) {
        const double x = alpha * a.data[i * a.row_stride + k * a.col_stride];
        const double* row = b.data + k * b.row_stride;
        double* out = c.data + i * c.row_stride;
        for (int64_t j = 0; j < size.n; ++j) out[j * c.col_stride] += x * row[j * b.col_stride];
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace weft
