// StepTrace: `weft train --trace`: times some steps of a run on all ranks and writes what happened
// in them to one file.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/job.pb.h"
#include "launcher/session.h"
#include "launcher/trace_file.h"
#include "runtime/transport.h"

namespace weft {

// Steps counted from 1, as metrics count them, both included.
struct TraceSteps {
  int64_t first = 0;
  int64_t last = 0;
};

// The steps that log.trace_steps asks for ("11:13"), or by default the eleventh to the thirteenth
// of the run, or its last three; `done` steps were done before it. InvalidArgument says what is
// wrong.
absl::StatusOr<TraceSteps> TraceStepsOf(const Job& job, int64_t done);

// One rank's, of the thread that trains; every rank makes the same calls. Nothing happens where the
// job has no log.trace.
class StepTrace {
 public:
  // All outlive it. `say` tells the person who runs this something, on rank 0.
  StepTrace(const Job& job, Transport& transport, std::function<void(const std::string&)> say)
      : job_(job), transport_(transport), say_(std::move(say)) {}

  // Before anything is loaded. FailedPrecondition where rank 0 cannot write the file.
  absl::Status Open();
  // Before the first step; `done` were done before. Takes all memory that timing needs. Errors:
  // those of TraceStepsOf and the device's. `device` is what people call it.
  absl::Status Begin(Session::Runnable& train, const std::string& device, int64_t done);
  // `done` steps have been collected. After the last one to trace, rank 0 writes the file and says
  // what it shows; the others wait for it to have their times.
  absl::Status Collected(int64_t done);
  // No step will follow: writes what there is.
  absl::Status End();

 private:
  absl::Status Write();
  absl::Status WriteFile(const std::vector<std::string>& summaries,
                         const std::vector<std::string>& parts);

  const Job& job_;
  Transport& transport_;
  const std::function<void(const std::string&)> say_;
  TraceSteps steps_;
  Session::Runnable* train_ = nullptr;  // null: nothing is to be written, or no more
  std::string device_;
  int64_t done_ = 0;
  std::unique_ptr<TraceFile> file_;  // of rank 0
};

}  // namespace weft
