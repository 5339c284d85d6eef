// What ends a training run, in one place: steps, time, and the held-out loss that is to be reached.
#pragma once

#include <cstdint>
#include <limits>

namespace weft {

// How long a run goes on, as far as can be told.
struct TimeLeft {
  double seconds = std::numeric_limits<double>::infinity();
  bool at_most = false;  // it ends before if the held-out loss gets low enough
  bool by_steps = true;  // the number of steps ends it; else time does
};

// A run stops after `steps`; or once `minutes` have passed and the last evaluation was below
// `until_loss` (nats; infinite: any); or after `max_minutes`. Infinite times end nothing. The last
// evaluation counts, not the best one: what is saved is the model as it is now. A value.
struct StopRule {
  int64_t steps = 0;
  double minutes = std::numeric_limits<double>::infinity();
  double until_loss = std::numeric_limits<double>::infinity();
  double max_minutes = std::numeric_limits<double>::infinity();

  // After `step` steps and `seconds`; `held_out` is the last evaluation, infinite before the first.
  bool Stops(int64_t step, double seconds, double held_out) const;
  // At the same point, with steps that take `step_seconds`.
  TimeLeft Left(int64_t step, double seconds, double held_out, double step_seconds) const;

 private:
  bool Reached(double held_out) const;
};

}  // namespace weft
