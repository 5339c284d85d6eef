// What a person sees while a job runs: one line that changes in place on a terminal, a plain line
// now and then elsewhere (a log file, a pipe).
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "launcher/metrics.h"
#include "launcher/stop_rule.h"

namespace weft {

// One thread. Rank 0 alone has one.
class ProgressLine {
 public:
  // `out` is borrowed and outlives this. `steps` is the last step of the job.
  ProgressLine(std::FILE* out, bool terminal, int64_t steps)
      : out_(out), terminal_(terminal), steps_(steps) {}
  // Ends a line left open on a terminal.
  ~ProgressLine() { Finish(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // Shows a step that ended at `seconds` on any steady clock. On a terminal at most ten times a
  // second, elsewhere every five seconds; the first and the last step always.
  void Update(const StepMetrics& metrics, double seconds, const TimeLeft& left);
  // Prints a message on a line of its own, leaving the live line intact.
  void Say(const std::string& message);
  void Finish();

 private:
  std::FILE* out_;
  bool terminal_;
  int64_t steps_;
  double shown_at_ = 0;
  bool shown_any_ = false;
  bool line_open_ = false;
};

// "step 12/50  loss 3.2145  lr 0.001  grad 1.25  45.2k tokens/s  left 1m 20s"; without "/50" where
// time ends the run.
std::string ProgressText(const StepMetrics& metrics, int64_t steps, const TimeLeft& left);

}  // namespace weft
