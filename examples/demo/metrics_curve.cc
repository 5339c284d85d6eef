#include "examples/demo/metrics_curve.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

// The number under `key`, or NaN where there is none (null, absent, text).
double NumberOf(const nlohmann::json& line, const char* key) {
  const auto it = line.find(key);
  return it != line.end() && it->is_number() ? it->get<double>() : std::nan("");
}

void AddLine(const nlohmann::json& line, MetricsCurve* curve) {
  curve->last_step = line["step"].get<int64_t>();
  const double loss = NumberOf(line, "loss");
  if (std::isfinite(loss)) curve->training.push_back({curve->last_step, loss / std::log(2.0)});
  const double evaluated = NumberOf(line, "eval_loss");
  if (std::isfinite(evaluated)) {
    curve->evaluation.push_back({curve->last_step, evaluated / std::log(2.0)});
  }
  const double tokens = NumberOf(line, "tokens");
  const double milliseconds = NumberOf(line, "step_ms");
  if (std::isfinite(tokens) && std::isfinite(milliseconds)) {
    curve->tokens += static_cast<int64_t>(tokens);
    curve->seconds += milliseconds / 1000;
  }
  const double sent = NumberOf(line, "bytes_sent");
  if (std::isfinite(sent)) curve->bytes_sent += static_cast<int64_t>(sent);
}

}  // namespace

absl::StatusOr<MetricsCurve> ReadMetricsCurve(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("there is no metrics file '", path, "'"));
  MetricsCurve curve;
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) {
    if (text.empty()) continue;
    const nlohmann::json line = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) {
      if (file.peek() == std::ifstream::traits_type::eof()) break;
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", number, ": no JSON object with a step"));
    }
    AddLine(line, &curve);
  }
  if (curve.training.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' has no step with a loss"));
  }
  return curve;
}

}  // namespace weft
