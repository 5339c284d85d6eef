// StepScalars: the scalars that a training step hands out, and what they say of going on.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "launcher/job.pb.h"
#include "runtime/kernel.h"

namespace weft {

struct StepScalars {
  double loss = 0;
  double grad_norm = 0;
  std::optional<double> loss_scale;  // in F16
  bool skipped = false;
  std::map<std::string, double, std::less<>> metrics;  // further outputs of a graph file

  // Keeps output `name`, an f32 scalar.
  absl::Status Take(std::string_view name, const Operand& in);
  // FailedPrecondition if step `step` (from 0) was skipped for a loss that is not finite, and no
  // later step can do better: the loss scale cannot fall any more. The same on all ranks.
  absl::Status CheckLoss(const Job& job, int64_t step) const;
};

}  // namespace weft
