// A run as its metrics file tells it, for the report and the picture.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace weft {

// Losses in bits per token, in the order of the file.
struct MetricsCurve {
  struct Point {
    int64_t step = 0;
    double bits = 0;
  };
  std::vector<Point> training;
  std::vector<Point> evaluation;
  int64_t tokens = 0;      // of all steps
  double seconds = 0;      // in all steps
  int64_t bytes_sent = 0;  // in all steps, by all ranks
  int64_t last_step = 0;

  double tokens_per_s() const { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }
};

// Reads JSON lines as `weft train --metrics` writes them: step, loss, tokens, step_ms, bytes_sent,
// and eval_loss on some. Errors: NotFound; InvalidArgument naming the line that is no JSON object
// with a step, or if there is no line with a loss. A broken last line is left out: the run may
// still be writing it.
absl::StatusOr<MetricsCurve> ReadMetricsCurve(const std::string& path);

}  // namespace weft
