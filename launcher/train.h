// Training: the loop around a session's train and evaluate programs.
#pragma once

#include <atomic>
#include <functional>
#include <limits>

#include "absl/status/status.h"
#include "graph/op_def.h"
#include "launcher/job.pb.h"
#include "launcher/job_text.h"
#include "runtime/kernel.h"
#include "runtime/transport.h"

namespace weft {

struct TrainOptions {
  bool resume = false;  // from the newest checkpoint of the job's folder
  // As for StopRule.
  double minutes = std::numeric_limits<double>::infinity();
  double until_loss = std::numeric_limits<double>::infinity();
  double max_minutes = std::numeric_limits<double>::infinity();
  bool progress = true;                            // rank 0 shows a line on stderr
  const std::atomic<bool>* interrupted = nullptr;  // set by a signal: checkpoint, then Cancelled
  FieldOrigins origins;                            // where the job's fields were written
  // Seconds without progress in a step after which all ranks fail with DeadlineExceeded; 0: never.
  double deadline = 0;
  // Raised by a signal: the reports of all ranks are printed once, and training goes on.
  const std::atomic<int>* report_requests = nullptr;
  // Ends the process, some ranks of which do not end after a failure; empty where MPI does that.
  std::function<void(const absl::Status&)> abort;
};

// One rank's part of a resolved, valid job. Blocks until the job is done, failed or interrupted.
// Every rank calls it. Errors: bad data or files (as for Dataset and checkpoints), the first
// failure of any rank, Cancelled after an interrupt, DeadlineExceeded after a stall, which rank 0
// has explained on stderr (actors/stall_watch.h).
absl::Status TrainRank(const Job& job, const OpRegistry& ops, const KernelTable& kernels,
                       Transport& transport, const TrainOptions& options);

}  // namespace weft
