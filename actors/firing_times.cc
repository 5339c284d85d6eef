#include "actors/firing_times.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {
namespace {

// A device makes an event for each before training starts.
constexpr int64_t kMostMarks = 1 << 20;

}  // namespace

FiringTimes::FiringTimes(std::vector<TimedActor> actors, int64_t first_step, int64_t steps)
    : actors_(std::move(actors)), first_step_(first_step), steps_(steps) {
  for (const TimedActor& actor : actors_) {
    Place place{.first = marks_needed_, .firings = actor.firings};
    for (int calls : actor.runs) place.points += calls + 1;
    marks_needed_ += place.points * place.firings * steps_;
    places_.push_back(place);
  }
}

absl::StatusOr<std::unique_ptr<FiringTimes>> FiringTimes::Make(Device& device,
                                                               std::vector<TimedActor> actors,
                                                               int64_t first_step, int64_t steps) {
  std::unique_ptr<FiringTimes> times(new FiringTimes(std::move(actors), first_step, steps));
  if (times->marks_needed_ > kMostMarks) {
    return absl::InvalidArgumentError(absl::StrCat(steps, " steps have ", times->marks_needed_,
                                                   " moments to be timed; the limit is ",
                                                   kMostMarks, ". Trace fewer steps"));
  }
  WEFT_ASSIGN_OR_RETURN(times->marks_, device.MakeTimeMarks(times->marks_needed_));
  return times;
}

absl::StatusOr<std::vector<FiringTime>> FiringTimes::Read() const {
  std::vector<FiringTime> times;
  for (size_t actor = 0; actor < actors_.size(); ++actor) {
    for (int64_t firing = 0; firing < steps_ * actors_[actor].firings; ++firing) {
      WEFT_RETURN_IF_ERROR(ReadFiring(static_cast<int>(actor), firing, &times));
    }
  }
  return times;
}

absl::Status FiringTimes::ReadFiring(int actor, int64_t firing,
                                     std::vector<FiringTime>* times) const {
  const Place& place = places_[actor];
  int64_t point = place.first + firing * place.points;
  int call = 0;
  for (int calls : actors_[actor].runs) {
    WEFT_ASSIGN_OR_RETURN(TimeMark begin, marks_->Read(point++));
    for (int i = 0; i < calls; ++i, ++call) {
      WEFT_ASSIGN_OR_RETURN(const TimeMark end, marks_->Read(point++));
      if (begin.at != 0 && end.at != 0) {
        times->push_back(
            {.actor = actor,
             .call = call,
             .step = first_step_ + firing / place.firings,
             .microbatch = firing % place.firings,
             .begin = begin.at,
             .end = end.at,
             .host_bound = std::max<int64_t>(0, std::min(end.at, end.enqueued) - begin.at)});
      }
      begin = end;
    }
  }
  return absl::OkStatus();
}

}  // namespace weft
