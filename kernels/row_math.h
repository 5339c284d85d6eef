// Vector arithmetic on one row, for kernels that work row by row (attention, head_cross_entropy,
// norm, rope): f32 by Highway for the best instruction set of the machine, f64 by plain loops for
// gradient checks. Nothing here allocates; any thread may call. NaN and infinity go through.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace weft {

// Largest element; -inf if n is 0.
float RowMax(const float* x, int64_t n);
// x = exp(x - shift); their sum.
float RowExp(float* x, int64_t n, float shift);
float RowSum(const float* x, int64_t n);
float RowDot(const float* x, const float* y, int64_t n);
// x *= factor.
void RowScale(float* x, int64_t n, float factor);
// y += factor x.
void RowAdd(float* y, const float* x, int64_t n, float factor);
// y += a b factor.
void RowMulAdd(float* y, const float* a, const float* b, int64_t n, float factor);
// y = (x - shift) factor weight + bias; weight and bias may be nullptr (1 and 0).
void RowAffine(float* y, const float* x, const float* weight, const float* bias, int64_t n,
               float shift, float factor);
// Softmax backward from scores: s = exp(s - lse), dp = s (dp - delta) factor.
void RowSoftmaxGrad(float* s, float* dp, int64_t n, float lse, float delta, float factor);
// Rotates the pairs (x[i], x[i + half]) by the angles of the given cosines and sines into y.
void RowRotate(float* y, const float* x, const float* cos, const float* sin, int64_t half);

inline double RowMax(const double* x, int64_t n) {
  double most = -std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < n; ++i) most = x[i] > most || std::isnan(x[i]) ? x[i] : most;
  return most;
}
inline double RowExp(double* x, int64_t n, double shift) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - shift);
  return sum;
}
inline double RowSum(const double* x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum;
}
inline double RowDot(const double* x, const double* y, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}
inline void RowScale(double* x, int64_t n, double factor) {
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}
inline void RowAdd(double* y, const double* x, int64_t n, double factor) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}
inline void RowMulAdd(double* y, const double* a, const double* b, int64_t n, double factor) {
  for (int64_t i = 0; i < n; ++i) y[i] += a[i] * b[i] * factor;
}
inline void RowAffine(double* y, const double* x, const double* weight, const double* bias,
                      int64_t n, double shift, double factor) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] = (x[i] - shift) * factor * (weight ? weight[i] : 1) + (bias ? bias[i] : 0);
  }
}
inline void RowSoftmaxGrad(double* s, double* dp, int64_t n, double lse, double delta,
                           double factor) {
  for (int64_t i = 0; i < n; ++i) {
    s[i] = std::exp(s[i] - lse);
    dp[i] = s[i] * (dp[i] - delta) * factor;
  }
}
inline void RowRotate(double* y, const double* x, const double* cos, const double* sin,
                      int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const double a = x[i], b = x[half + i];
    y[i] = a * cos[i] - b * sin[i];
    y[half + i] = a * sin[i] + b * cos[i];
  }
}

}  // namespace weft
