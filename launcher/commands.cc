#include "launcher/commands.h"

#include <cstdio>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/all_ops.h"
#include "launcher/cluster.h"
#include "launcher/plan_text.h"
#include "launcher/ranks.h"
#include "launcher/simulate_text.h"
#include "runtime/status.h"

namespace weft {

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk: return kExitDone;
    case absl::StatusCode::kCancelled: return kExitInterrupted;
    case absl::StatusCode::kDeadlineExceeded: return kExitStalled;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented: return kExitBadJob;
    default: return kExitRankFailed;
  }
}

namespace {

int Finish(const absl::Status& status, bool speaks) {
  if (!status.ok() && speaks) {
    std::fprintf(stderr, "weft: %s\n", std::string(status.message()).c_str());
  }
  return ExitCodeOf(status);
}

}  // namespace

int Run(const TrainCommand& command) {
  absl::StatusOr<Ranks> ranks = Ranks::Start(command.job.ranks);
  if (!ranks.ok()) return Finish(ranks.status(), true);
  absl::StatusOr<Job> job = LoadJob(command.job.path, command.job.overrides);
  absl::Status ready = job.status();
  if (ready.ok()) {
    if (!command.metrics.empty()) job->mutable_log()->set_metrics(command.metrics);
    ready = CheckRanks(*job, ranks->size());
  }
  if (ready.ok() && command.verbose && ranks->speaks()) {
    std::printf("%s", PrintJob(*job).c_str());
  }
  OpRegistry ops;
  KernelTable kernels;
  DefineAllOps(ops);
  FillCpuKernels(ops, kernels);
  const absl::Status status = ranks->Run([&](Transport& transport) {
    // A bad job is every rank's own finding: each leaves by itself, and rank 0 prints it once.
    if (!ready.ok()) return absl::OkStatus();
    return TrainRank(*job, ops, kernels, transport, command.options);
  });
  return Finish(ready.ok() ? status : ready, ranks->speaks());
}

int Run(const PlanCommand& command) {
  const absl::StatusOr<Job> job = LoadJob(command.job.path, command.job.overrides);
  if (!job.ok()) return Finish(job.status(), true);
  if (command.job.ranks > 0) {
    const absl::Status fits = CheckRanks(*job, command.job.ranks);
    if (!fits.ok()) return Finish(fits, true);
  }
  OpRegistry ops;
  DefineAllOps(ops);
  const absl::StatusOr<std::string> text = PlanText(*job, ops);
  if (!text.ok()) return Finish(text.status(), true);
  std::printf("%s", text->c_str());
  return kExitDone;
}

int Run(const SimulateCommand& command) {
  const absl::StatusOr<Job> job = LoadJob(command.job.path, command.job.overrides);
  if (!job.ok()) return Finish(job.status(), true);
  const absl::StatusOr<Cluster> cluster = LoadCluster(command.cluster);
  if (!cluster.ok()) return Finish(cluster.status(), true);
  OpRegistry ops;
  DefineAllOps(ops);
  const absl::StatusOr<std::string> text = SimulateText(*job, *cluster, ops, command.steps);
  if (!text.ok()) return Finish(text.status(), true);
  std::printf("%s", text->c_str());
  return kExitDone;
}

}  // namespace weft
