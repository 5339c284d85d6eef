#include "launcher/progress_line.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/human_units.h"

namespace weft {
namespace {

constexpr double kTerminalSeconds = 0.1;
constexpr double kPlainSeconds = 5;

std::string Rate(double value) {
  if (value >= 1e6) return absl::StrFormat("%.2fM", value / 1e6);
  if (value >= 1e4) return absl::StrFormat("%.1fk", value / 1e3);
  return absl::StrFormat("%.0f", value);
}

}  // namespace

std::string ProgressText(const StepMetrics& m, int64_t steps, const TimeLeft& left) {
  std::string text = absl::StrFormat("step %d%s  loss %.4f  lr %.3g", m.step,
                                     left.by_steps ? absl::StrCat("/", steps) : "", m.loss, m.lr);
  if (std::isfinite(m.grad_norm))
    absl::StrAppend(&text, absl::StrFormat("  grad %.3g", m.grad_norm));
  if (m.loss_scale) absl::StrAppend(&text, absl::StrFormat("  scale %g", *m.loss_scale));
  if (m.skipped) absl::StrAppend(&text, "  skipped");
  if (std::isfinite(m.tokens_per_s))
    absl::StrAppend(&text, "  ", Rate(m.tokens_per_s), " tokens/s");
  if (left.seconds > 0 && left.seconds < 1e9) {
    absl::StrAppend(&text, left.at_most ? "  left at most " : "  left ",
                    HumanDuration(left.seconds));
  }
  for (const auto& [key, value] : m.more)
    absl::StrAppend(&text, absl::StrFormat("  %s %.4f", key, value));
  return text;
}

void ProgressLine::Update(const StepMetrics& metrics, double seconds, const TimeLeft& left) {
  const bool due = seconds - shown_at_ >= (terminal_ ? kTerminalSeconds : kPlainSeconds);
  if (shown_any_ && !due && metrics.step < steps_) return;
  shown_any_ = true;
  shown_at_ = seconds;
  const std::string text = ProgressText(metrics, steps_, left);
  // Carriage return and "erase to the end of the line".
  const std::string shown =
      terminal_ ? absl::StrCat("\r", text, "\033[K") : absl::StrCat(text, "\n");
  std::fputs(shown.c_str(), out_);
  std::fflush(out_);
  line_open_ = terminal_;
}

void ProgressLine::Say(const std::string& message) {
  absl::FPrintF(out_, "%s%s\n", line_open_ ? "\r\033[K" : "", message);
  std::fflush(out_);
  line_open_ = false;
}

void ProgressLine::Finish() {
  if (line_open_) absl::FPrintF(out_, "\n");
  if (line_open_) std::fflush(out_);
  line_open_ = false;
}

}  // namespace weft
