// FiringTimes: when the firings of some steps began and ended on their streams, and within them
// each kernel. What a trace shows.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/device.h"
#include "runtime/time_marks.h"

namespace weft {

// A kernel call of a compute actor, or a whole firing of another. Nanoseconds of the host's steady
// clock.
struct FiringTime {
  int actor = 0;  // of the plan
  int call = 0;   // of a compute actor; 0 for other kinds
  int64_t step = 0;
  int64_t microbatch = 0;
  int64_t begin = 0;  // when the stream came to it, done with what is before it and with waiting
  int64_t end = 0;
  // Of [begin, end), how long the host may not yet have enqueued all of it: the device may have
  // waited for the host that long, not longer. 0 where the host does the work itself.
  int64_t host_bound = 0;
};

// What an actor notes in a firing: calls in so many runs, each run back to back on the stream.
// A call ends where the next of its run begins.
struct TimedActor {
  std::vector<int> runs;  // calls of each
  int64_t firings = 1;    // per step
};

// Steps [first_step, first_step + steps), by the executor's numbers. All memory is taken at the
// start. Made and read by the actor thread, while no step is in flight or by who knows that those
// of interest have ended; Mark is called in tasks.
class FiringTimes {
 public:
  // `actors` by index in the plan. `device` outlives it. Errors: those of MakeTimeMarks.
  static absl::StatusOr<std::unique_ptr<FiringTimes>> Make(Device& device,
                                                           std::vector<TimedActor> actors,
                                                           int64_t first_step, int64_t steps);

  bool Covers(int64_t step) const { return step >= first_step_ && step < first_step_ + steps_; }
  // The stream has come to point `point` of a firing: points are counted from 0 through all runs of
  // the actor, a run of n calls having n + 1. The step is covered.
  void Mark(int actor, int64_t step, int64_t microbatch, int point, void* native_stream) {
    const Place& place = places_[actor];
    const int64_t firing = (step - first_step_) * place.firings + microbatch;
    marks_->Set(place.first + firing * place.points + point, native_stream);
  }

  // All that has both ends, by actor, firing and call.
  absl::StatusOr<std::vector<FiringTime>> Read() const;

 private:
  struct Place {
    int64_t first = 0;  // mark of the actor's first firing
    int64_t points = 0;
    int64_t firings = 0;  // per step
  };
  FiringTimes(std::vector<TimedActor> actors, int64_t first_step, int64_t steps);
  absl::Status ReadFiring(int actor, int64_t firing, std::vector<FiringTime>* times) const;

  const std::vector<TimedActor> actors_;
  const int64_t first_step_;
  const int64_t steps_;
  std::vector<Place> places_;  // by actor
  int64_t marks_needed_ = 0;
  std::unique_ptr<TimeMarks> marks_;
};

}  // namespace weft
