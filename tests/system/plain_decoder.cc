#include "tests/system/plain_decoder.h"

#include <algorithm>
#include <cmath>

namespace weft::testing {
namespace {

using Numbers = std::vector<double>;

// One row of tokens through the network.
class PlainRow {
 public:
  PlainRow(const DecoderConfig& config, const PlainParameters& parameters, int64_t sequence)
      : c_(config), p_(parameters), s_(sequence) {
    if (c_.kv_heads == 0) c_.kv_heads = c_.heads;
    if (c_.head_dim == 0) c_.head_dim = c_.hidden / c_.heads;
  }

  double SumOfLosses(const int* tokens, const int* targets) const {
    const Numbers& table = p_.at("embedding");
    Numbers x(s_ * c_.hidden);
    for (int64_t i = 0; i < s_ * c_.hidden; ++i) {
      x[i] = table[tokens[i / c_.hidden] * c_.hidden + i % c_.hidden];
    }
    for (int64_t layer = 0; layer < c_.layers; ++layer) {
      const std::string prefix = "layers." + std::to_string(layer) + ".";
      AddTo(x, Attention(prefix + "attention.", x));
      AddTo(x, Mlp(prefix + "mlp.", x));
    }
    return Head(Norm("", x), targets);
  }

 private:
  static void AddTo(Numbers& x, const Numbers& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  // x [rows, in] times w [in, out].
  static Numbers Times(const Numbers& x, const Numbers& w, int64_t in) {
    const int64_t rows = static_cast<int64_t>(x.size()) / in;
    const int64_t out = static_cast<int64_t>(w.size()) / in;
    Numbers y(rows * out);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < in; ++i) {
        for (int64_t o = 0; o < out; ++o) y[r * out + o] += x[r * in + i] * w[i * out + o];
      }
    }
    return y;
  }

  Numbers Norm(const std::string& prefix, const Numbers& x) const {
    const int64_t h = c_.hidden;
    const Numbers& weight = p_.at(prefix + "norm");
    const bool centred = c_.norm == DecoderConfig::Norm::kLayer;
    Numbers y(x.size());
    for (int64_t row = 0; row < static_cast<int64_t>(x.size()) / h; ++row) {
      const double* from = &x[row * h];
      double mean = 0, square = 0;
      for (int64_t i = 0; i < h && centred; ++i) mean += from[i] / static_cast<double>(h);
      for (int64_t i = 0; i < h; ++i) square += (from[i] - mean) * (from[i] - mean);
      const double inverse = 1 / std::sqrt(square / static_cast<double>(h) + c_.norm_eps);
      for (int64_t i = 0; i < h; ++i) {
        y[row * h + i] = (from[i] - mean) * inverse * weight[i];
        if (centred) y[row * h + i] += p_.at(prefix + "norm_bias")[i];
      }
    }
    return y;
  }

  // Turns each head's pairs (i, i + d/2) by position * theta^(-2i/d).
  void Rotate(Numbers& x, int64_t heads) const {
    const int64_t d = c_.head_dim;
    for (int64_t row = 0; row < s_ * heads; ++row) {
      for (int64_t i = 0; i < d / 2; ++i) {
        const double angle =
            static_cast<double>(row / heads) *
            std::pow(c_.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(d));
        double& a = x[row * d + i];
        double& b = x[row * d + i + d / 2];
        const double turned = a * std::cos(angle) - b * std::sin(angle);
        b = a * std::sin(angle) + b * std::cos(angle);
        a = turned;
      }
    }
  }

  Numbers Attention(const std::string& prefix, const Numbers& input) const {
    const int64_t d = c_.head_dim, heads = c_.heads, kv_heads = c_.kv_heads;
    const Numbers x = Norm(prefix, input);
    Numbers q = Times(x, p_.at(prefix + "q"), c_.hidden);
    Numbers k = Times(x, p_.at(prefix + "k"), c_.hidden);
    const Numbers v = Times(x, p_.at(prefix + "v"), c_.hidden);
    Rotate(q, heads);
    Rotate(k, kv_heads);
    Numbers mixed(q.size());
    for (int64_t i = 0; i < s_; ++i) {
      for (int64_t head = 0; head < heads; ++head) {
        const int64_t kv = head / (heads / kv_heads);
        Numbers weights(i + 1);
        double total = 0;
        for (int64_t j = 0; j <= i; ++j) {
          double dot = 0;
          for (int64_t e = 0; e < d; ++e) {
            dot += q[(i * heads + head) * d + e] * k[(j * kv_heads + kv) * d + e];
          }
          weights[j] = std::exp(dot / std::sqrt(static_cast<double>(d)));
          total += weights[j];
        }
        for (int64_t j = 0; j <= i; ++j) {
          for (int64_t e = 0; e < d; ++e) {
            mixed[(i * heads + head) * d + e] +=
                weights[j] / total * v[(j * kv_heads + kv) * d + e];
          }
        }
      }
    }
    return Times(mixed, p_.at(prefix + "o"), heads * d);
  }

  Numbers Mlp(const std::string& prefix, const Numbers& input) const {
    const Numbers x = Norm(prefix, input);
    Numbers up = Times(x, p_.at(prefix + "up"), c_.hidden);
    if (c_.activation == DecoderConfig::Activation::kSiluGate) {
      const Numbers gate = Times(x, p_.at(prefix + "gate"), c_.hidden);
      for (size_t i = 0; i < up.size(); ++i) up[i] *= gate[i] / (1 + std::exp(-gate[i]));
    } else {
      const double k = std::sqrt(2 / 3.14159265358979323846);
      for (double& u : up) u = u / 2 * (1 + std::tanh(k * (u + 0.044715 * u * u * u)));
    }
    return Times(up, p_.at(prefix + "down"), c_.ffn);
  }

  double Head(const Numbers& x, const int* targets) const {
    const Numbers& head = p_.at(c_.tied_head ? "embedding" : "head");
    double sum = 0;
    for (int64_t row = 0; row < s_; ++row) {
      if (targets[row] < 0) continue;
      double total = 0, target_logit = 0;
      for (int64_t token = 0; token < c_.vocab; ++token) {
        double logit = 0;
        for (int64_t i = 0; i < c_.hidden; ++i) {
          logit += x[row * c_.hidden + i] * head[token * c_.hidden + i];
        }
        total += std::exp(logit);
        if (token == targets[row]) target_logit = logit;
      }
      sum += std::log(total) - target_logit;
    }
    return sum;
  }

  DecoderConfig c_;
  const PlainParameters& p_;
  const int64_t s_;
};

}  // namespace

double PlainDecoderLoss(const DecoderConfig& config, const PlainParameters& parameters,
                        const std::vector<int>& tokens, const std::vector<int>& targets,
                        int64_t batch, int64_t sequence, double scale) {
  const PlainRow row(config, parameters, sequence);
  double sum = 0;
  for (int64_t b = 0; b < batch; ++b) {
    sum += row.SumOfLosses(&tokens[b * sequence], &targets[b * sequence]);
  }
  return scale * sum;
}

}  // namespace weft::testing
