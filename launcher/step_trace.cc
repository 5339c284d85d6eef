#include "launcher/step_trace.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "launcher/trace_events.h"
#include "launcher/trace_summary.h"
#include "runtime/compare_clocks.h"
#include "runtime/rendezvous.h"
#include "runtime/status.h"

namespace weft {
namespace {

// By default: what comes first is not like the rest (caches, tuning, connections).
constexpr int64_t kFirst = 11;
constexpr int64_t kSteps = 3;
// Times and events of all steps are kept until they are written.
constexpr int64_t kMostSteps = 1000;

// The least of all ranks' numbers, on all ranks.
absl::StatusOr<int64_t> LeastOf(Transport& transport, int64_t mine) {
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                        GatherBytes(transport, 0, absl::StrCat(mine)));
  int64_t least = mine, number = 0;
  for (const std::string& text : all) {
    if (absl::SimpleAtoi(text, &number)) least = std::min(least, number);
  }
  std::string text = absl::StrCat(least);
  WEFT_RETURN_IF_ERROR(BroadcastBytes(transport, 0, &text));
  if (absl::SimpleAtoi(text, &number)) return number;
  return absl::InternalError("rank 0 sent no number");
}

}  // namespace

absl::StatusOr<TraceSteps> TraceStepsOf(const Job& job, int64_t done) {
  const int64_t steps = job.train().steps();
  const std::string& text = job.log().trace_steps();
  TraceSteps chosen;
  if (text.empty()) {
    chosen.first = done + std::max<int64_t>(1, std::min(kFirst, steps - done - kSteps + 1));
    chosen.last = std::min(chosen.first + kSteps - 1, steps);
    return chosen;
  }
  const std::vector<std::string> ends = absl::StrSplit(text, ':');
  if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &chosen.first) ||
      !absl::SimpleAtoi(ends[1], &chosen.last) || chosen.first < 1 || chosen.last < chosen.first) {
    return absl::InvalidArgumentError(absl::StrCat(
        "is \"", text, "\"; write FIRST:LAST, steps as metrics count them, such as 11:13"));
  }
  if (chosen.last > steps) {
    return absl::InvalidArgumentError(
        absl::StrCat("is \"", text, "\" and the job has ", steps, steps == 1 ? " step" : " steps"));
  }
  if (chosen.last - chosen.first >= kMostSteps) {
    return absl::InvalidArgumentError(
        absl::StrCat("is \"", text, "\"; trace at most ", kMostSteps, " steps at once"));
  }
  if (chosen.first <= done) {
    return absl::InvalidArgumentError(
        absl::StrCat("is \"", text, "\" and the run goes on with step ", done + 1));
  }
  return chosen;
}

absl::Status StepTrace::Open() {
  if (job_.log().trace().empty() || transport_.rank() != 0) return absl::OkStatus();
  file_ = std::make_unique<TraceFile>(job_.log().trace());
  return file_->Open();
}

absl::Status StepTrace::Begin(Session::Runnable& train, const std::string& device, int64_t done) {
  if (job_.log().trace().empty()) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(steps_, TraceStepsOf(job_, done));
  train_ = &train;
  device_ = device;
  done_ = done;
  return train.TimeSteps(steps_.first - 1, std::max<int64_t>(0, steps_.last - steps_.first + 1));
}

absl::Status StepTrace::Collected(int64_t done) {
  done_ = done;
  return train_ != nullptr && done == steps_.last ? Write() : absl::OkStatus();
}

absl::Status StepTrace::End() {
  if (train_ == nullptr) return absl::OkStatus();
  if (done_ >= steps_.first) return Write();
  train_ = nullptr;
  if (transport_.rank() == 0) {
    say_(absl::StrCat("weft: warning: the run ended before step ", steps_.first,
                      ": there is no trace"));
  }
  return absl::OkStatus();
}

absl::Status StepTrace::Write() {
  const Session::Runnable& train = *std::exchange(train_, nullptr);
  WEFT_ASSIGN_OR_RETURN(const std::vector<FiringTime> times, train.ReadTimes());
  WEFT_ASSIGN_OR_RETURN(const ClockDifference clock, CompareClocks(transport_));
  int64_t begin = std::numeric_limits<int64_t>::max();
  for (const FiringTime& time : times) begin = std::min(begin, time.begin + clock.ahead);
  WEFT_ASSIGN_OR_RETURN(begin, LeastOf(transport_, begin));
  if (begin == std::numeric_limits<int64_t>::max()) begin = 0;  // nothing was timed
  WEFT_ASSIGN_OR_RETURN(std::string events, TraceEvents(train.program(), train.plan(), device_,
                                                        times, clock.ahead - begin));
  nlohmann::ordered_json summary = SummariseTrace(train.plan(), times);
  summary["clock_error_us"] = static_cast<double>(clock.error) / 1e3;
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::string> summaries,
                        GatherBytes(transport_, 0, summary.dump()));
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                        GatherBytes(transport_, 0, std::move(events)));
  if (transport_.rank() != 0) return absl::OkStatus();
  // Training is worth more than a file about it.
  if (const absl::Status status = WriteFile(summaries, parts); !status.ok()) {
    say_(absl::StrCat("weft: warning: there is no trace: ", std::string(status.message())));
  }
  return absl::OkStatus();
}

absl::Status StepTrace::WriteFile(const std::vector<std::string>& summaries,
                                  const std::vector<std::string>& parts) {
  const int64_t last = std::min(done_, steps_.last);
  std::vector<nlohmann::ordered_json> ranks;
  for (const std::string& text : summaries) {
    ranks.push_back(nlohmann::ordered_json::parse(text));
  }
  const nlohmann::ordered_json head = {{"job", job_.name()},
                                       {"mesh", job_.mesh()},
                                       {"first_step", steps_.first},
                                       {"last_step", last},
                                       {"ranks", ranks}};
  WEFT_RETURN_IF_ERROR(file_->Append(
      absl::StrCat("{\"displayTimeUnit\":\"ms\",\n\"otherData\":",
                   head.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace),
                   ",\n\"traceEvents\":[")));
  const char* comma = "\n";
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    WEFT_RETURN_IF_ERROR(file_->Append(comma));
    WEFT_RETURN_IF_ERROR(file_->Append(part));
    comma = ",\n";
  }
  WEFT_RETURN_IF_ERROR(file_->Append("\n]}\n"));
  WEFT_RETURN_IF_ERROR(file_->Commit());
  std::string text = TraceSummaryText(ranks);
  if (!text.empty()) text.pop_back();  // its last newline
  say_(absl::StrCat("weft: steps ", steps_.first, " to ", last, " are in ", job_.log().trace(),
                    "\n", text));
  return absl::OkStatus();
}

}  // namespace weft
