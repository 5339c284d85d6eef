// Attention and its gradients by whole rows of scores, in f64: the oracle of masks and blocks.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/kernels/dense_run.h"

namespace weft::testing {

struct AttentionProblem {
  int64_t batch = 1, s = 1, t = 1, heads = 1, kv_heads = 1, d = 4, dv = 4;
  bool causal = false;
  int64_t window = 0;
  std::vector<Interval> visible = {};  // of each row of each batch entry; empty: all

  bool Sees(int64_t b, int64_t i, int64_t j) const {
    if (causal && j > i) return false;
    if (window > 0 && std::abs(i - j) >= window) return false;
    if (visible.empty()) return true;
    const Interval& seen = visible[b * s + i];
    return j >= seen.begin && j < seen.end;
  }
  Attrs attrs() const { return {{"causal", causal}, {"window", window}}; }
  // The optional operand, absent if all is visible.
  Dense Visible() const {
    if (visible.empty()) return {};
    std::vector<double> bounds;
    for (const Interval& seen : visible) {
      bounds.push_back(static_cast<double>(seen.begin));
      bounds.push_back(static_cast<double>(seen.end));
    }
    return DenseOf({batch, s, 2}, DType::kI32, std::move(bounds));
  }
};

struct AttentionInputs {
  Dense q, k, v, doo;
};

inline AttentionInputs RandomAttention(const AttentionProblem& p, DType dtype, int seed = 1) {
  return {RandomDense({p.batch, p.s, p.heads, p.d}, dtype, seed),
          RandomDense({p.batch, p.t, p.kv_heads, p.d}, dtype, seed + 1),
          RandomDense({p.batch, p.t, p.kv_heads, p.dv}, dtype, seed + 2),
          RandomDense({p.batch, p.s, p.heads, p.dv}, dtype, seed + 3)};
}

// All whole, in f64.
struct PlainResults {
  Dense o, lse, dq, dk, dv;
};

// Over the keys of `keys` alone. Gradients are of <doo, o>.
inline PlainResults PlainAttention(const AttentionProblem& p, const AttentionInputs& x,
                                   const IndexSet& keys) {
  const DType f64 = DType::kF64;
  const auto zeros = [&](Shape shape) {
    const int64_t n = NumElements(shape);
    return DenseOf(std::move(shape), f64, std::vector<double>(n, 0.0));
  };
  PlainResults y{zeros(x.doo.spec.shape), zeros({p.batch, p.s, p.heads}), zeros(x.q.spec.shape),
                 zeros(x.k.spec.shape), zeros(x.v.spec.shape)};
  const double scale = 1 / std::sqrt(static_cast<double>(p.d));
  for (int64_t row = 0; row < p.batch * p.s * p.heads; ++row) {
    const int64_t h = row % p.heads, i = row / p.heads % p.s, b = row / p.heads / p.s;
    const auto key = [&](int64_t j) {
      return (b * p.t + j) * p.kv_heads + h / (p.heads / p.kv_heads);
    };
    std::vector<int64_t> seen;
    std::vector<double> scores;
    double most = -std::numeric_limits<double>::infinity(), sum = 0, delta = 0;
    for (const Interval& piece : keys.intervals()) {
      for (int64_t j = piece.begin; j < piece.end; ++j) {
        if (!p.Sees(b, i, j)) continue;
        double score = 0;
        for (int64_t c = 0; c < p.d; ++c) {
          score += x.q.values[row * p.d + c] * x.k.values[key(j) * p.d + c];
        }
        seen.push_back(j);
        scores.push_back(score * scale);
        most = std::max(most, scores.back());
      }
    }
    for (double score : scores) sum += std::exp(score - most);
    const double lse = seen.empty() ? most : most + std::log(sum);
    y.lse.values[row] = lse;
    for (size_t n = 0; n < seen.size(); ++n) {
      const double weight = std::exp(scores[n] - lse);
      for (int64_t c = 0; c < p.dv; ++c) {
        y.o.values[row * p.dv + c] += weight * x.v.values[key(seen[n]) * p.dv + c];
      }
    }
    for (int64_t c = 0; c < p.dv; ++c) {
      delta += x.doo.values[row * p.dv + c] * y.o.values[row * p.dv + c];
    }
    for (size_t n = 0; n < seen.size(); ++n) {
      const int64_t j = key(seen[n]);
      const double weight = std::exp(scores[n] - lse);
      double dp = -delta;
      for (int64_t c = 0; c < p.dv; ++c) {
        dp += x.doo.values[row * p.dv + c] * x.v.values[j * p.dv + c];
        y.dv.values[j * p.dv + c] += weight * x.doo.values[row * p.dv + c];
      }
      for (int64_t c = 0; c < p.d; ++c) {
        y.dq.values[row * p.d + c] += weight * dp * scale * x.k.values[j * p.d + c];
        y.dk.values[j * p.d + c] += weight * dp * scale * x.q.values[row * p.d + c];
      }
    }
  }
  return y;
}

// |got - want| / |want| over all elements, 0 for nothing against nothing; infinite ones must be
// equal.
inline double RelativeError(const std::vector<double>& got, const std::vector<double>& want) {
  EXPECT_EQ(got.size(), want.size());
  double error = 0, size = 0;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    if (got[i] == want[i] && std::isinf(want[i])) continue;
    error += (got[i] - want[i]) * (got[i] - want[i]);
    size += want[i] * want[i];
  }
  return error == 0 ? 0 : std::sqrt(error / std::max(size, 1e-300));
}

}  // namespace weft::testing
