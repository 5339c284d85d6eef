// Products of bf16 and f16 operands: both result types, any factor, added or not, in every
// orientation.
#include "kernels/gemm.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

constexpr GemmSize kSize{5, 17, 33};

template <typename T>
float ToFloat(T x) {
  return static_cast<float>(x);
}

// A matrix of rows x cols with its own memory, by rows or by columns, with room between these.
template <typename T>
struct Owned {
  Owned(int64_t rows, int64_t cols, bool by_rows)
      : row_stride(by_rows ? cols + 3 : 1), col_stride(by_rows ? 1 : rows + 3) {
    values.resize(static_cast<size_t>((rows + 3) * (cols + 3)));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = T(static_cast<float>(i * 7 % 31) / 16 - 1);  // exact in 16 bits
    }
  }
  float At(int64_t i, int64_t j) const {
    return ToFloat(values[static_cast<size_t>(i * row_stride + j * col_stride)]);
  }
  Matrix<const T> in() const { return {values.data(), row_stride, col_stride}; }
  Matrix<T> out() { return {values.data(), row_stride, col_stride}; }

  int64_t row_stride, col_stride;
  std::vector<T> values;
};

template <typename T, typename C>
void ExpectProducts(double tolerance) {
  const bool both[] = {false, true};
  for (bool a_rows : both) {
    for (bool b_rows : both) {
      for (bool c_rows : both) {
        for (bool adds : both) {
          for (double alpha : {1.0, 0.375}) {
            SCOPED_TRACE(absl::StrCat(a_rows, b_rows, c_rows, adds, " ", alpha));
            const Owned<T> a(kSize.m, kSize.k, a_rows), b(kSize.k, kSize.n, b_rows);
            Owned<C> c(kSize.m, kSize.n, c_rows);
            const Owned<C> before = c;
            const absl::Status status = Gemm(kSize, alpha, a.in(), b.in(), adds, c.out());
            ASSERT_TRUE(status.ok()) << status;
            for (int64_t i = 0; i < kSize.m; ++i) {
              for (int64_t j = 0; j < kSize.n; ++j) {
                double want = 0;
                for (int64_t k = 0; k < kSize.k; ++k) want += a.At(i, k) * b.At(k, j);
                want = alpha * want + (adds ? before.At(i, j) : 0);
                ASSERT_NEAR(c.At(i, j), want, tolerance * std::max(1.0, std::abs(want)));
              }
            }
          }
        }
      }
    }
  }
}

// A matrix of one column or row may be a view in which neither stride is 1.
TEST(Gemm, BF16TakesVectorsOfAnyStride) {
  constexpr int64_t kM = 5, kN = 4, kStep = 3, kFar = 11;
  std::vector<BFloat16> a(kM * kStep), b(kN * kStep);
  for (size_t i = 0; i < a.size(); ++i) a[i] = BFloat16(static_cast<float>(i) / 4);
  for (size_t i = 0; i < b.size(); ++i) b[i] = BFloat16(static_cast<float>(i) / 2 - 3);
  std::vector<float> c(kM * kN);
  const absl::Status status =
      Gemm({kM, kN, 1}, 1, Matrix<const BFloat16>{a.data(), kStep, kFar},
           Matrix<const BFloat16>{b.data(), kFar, kStep}, false, Matrix<float>{c.data(), kN, 1});
  ASSERT_TRUE(status.ok()) << status;
  for (int64_t i = 0; i < kM; ++i) {
    for (int64_t j = 0; j < kN; ++j) {
      EXPECT_EQ(c[i * kN + j], ToFloat(a[i * kStep]) * ToFloat(b[j * kStep]));
    }
  }
}

TEST(Gemm, BF16IntoF32IsExactToF32) { ExpectProducts<BFloat16, float>(1e-6); }

TEST(Gemm, BF16IntoBF16RoundsOnce) { ExpectProducts<BFloat16, BFloat16>(1.0 / 256); }

TEST(Gemm, F16IntoF32IsExactToF32) { ExpectProducts<Float16, float>(1e-6); }

TEST(Gemm, F16IntoF16RoundsOnce) { ExpectProducts<Float16, Float16>(1.0 / 2048); }

// Beyond what is widened at once, along every extent.
TEST(Gemm, F16IsWidenedInPieces) {
  constexpr GemmSize kLarge{1030, 1040, 1100};
  std::vector<Float16> a(kLarge.m * kLarge.k), b(kLarge.k * kLarge.n), c(kLarge.m * kLarge.n);
  for (size_t i = 0; i < a.size(); ++i) a[i] = Float16(static_cast<float>(i * 7 % 31) / 16 - 1);
  for (size_t i = 0; i < b.size(); ++i) b[i] = Float16(static_cast<float>(i * 5 % 29) / 16 - 1);
  const absl::Status status = Gemm(kLarge, 1, Matrix<const Float16>{a.data(), kLarge.k, 1},
                                   Matrix<const Float16>{b.data(), kLarge.n, 1}, false,
                                   Matrix<Float16>{c.data(), kLarge.n, 1});
  ASSERT_TRUE(status.ok()) << status;
  for (int64_t i : {0, 1023, 1024, 1029}) {
    for (int64_t j : {0, 1023, 1024, 1039}) {
      double want = 0;
      for (int64_t k = 0; k < kLarge.k; ++k) {
        want += ToFloat(a[i * kLarge.k + k]) * ToFloat(b[k * kLarge.n + j]);
      }
      EXPECT_NEAR(ToFloat(c[i * kLarge.n + j]), want, std::max(1.0, std::abs(want)) / 1024);
    }
  }
}

}  // namespace
}  // namespace weft
