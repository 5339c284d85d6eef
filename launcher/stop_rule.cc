#include "launcher/stop_rule.h"

#include <algorithm>
#include <cmath>

namespace weft {

bool StopRule::Reached(double held_out) const {
  return std::isinf(until_loss) || held_out < until_loss;
}

bool StopRule::Stops(int64_t step, double seconds, double held_out) const {
  if (step >= steps || seconds >= max_minutes * 60) return true;
  return seconds >= minutes * 60 && Reached(held_out);
}

TimeLeft StopRule::Left(int64_t step, double seconds, double held_out, double step_seconds) const {
  const bool reached = Reached(held_out);
  const double end = (reached ? std::min(minutes, max_minutes) : max_minutes) * 60;
  const double by_time = std::max(0.0, end - seconds);
  const double by_steps = static_cast<double>(steps - step) * step_seconds;
  TimeLeft left;
  left.by_steps = !(by_time < by_steps);  // also where step_seconds is not a number
  left.seconds = left.by_steps ? by_steps : by_time;
  left.at_most = !reached && std::isfinite(minutes);
  return left;
}

}  // namespace weft
