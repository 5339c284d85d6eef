#include "launcher/step_scalars.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace weft {

absl::Status StepScalars::Take(std::string_view name, const Operand& in) {
  const double value = *in.as<float>();
  if (name == "loss") {
    loss = value;
  } else if (name == "grad_norm") {
    grad_norm = value;
  } else if (name == "loss_scale") {
    loss_scale = value;
  } else if (name == "skipped") {
    skipped = value != 0;
  } else {
    metrics[std::string(name)] = value;
  }
  return absl::OkStatus();
}

absl::Status StepScalars::CheckLoss(const Job& job, int64_t step) const {
  const bool fixed = job.train().loss_scale().fixed();
  if (!loss_scale || std::isfinite(loss) || (!fixed && *loss_scale > 1)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the loss of step ", step + 1, " is ", loss, ", and the loss scale ", *loss_scale,
      fixed ? " is fixed" : " cannot be halved any more",
      ": steps would be skipped for ever. Values are beyond what f16 holds: use dtype: BF16, or a "
      "lower learning rate"));
}

}  // namespace weft
