#include "launcher/commands.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/all_ops.h"
#include "launcher/cluster.h"
#include "launcher/mesh_choice.h"
#include "launcher/plan_output.h"
#include "launcher/rank_place.h"
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
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnimplemented: return kExitBadJob;
    default: return kExitRankFailed;
  }
}

void ReportFailure(const absl::Status& status) {
  if (status.ok() || !Ranks::speaks()) return;
  std::fprintf(stderr, "weft: %s\n", std::string(status.message()).c_str());
}

namespace {

int Finish(const absl::Status& status) {
  ReportFailure(status);
  return ExitCodeOf(status);
}

// Prints a command's result on the one rank that speaks.
int FinishWith(const std::string& text) {
  if (!Ranks::speaks()) return kExitDone;
  if (std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return kExitDone;
  return Finish(absl::FailedPreconditionError(
      absl::StrCat("cannot write the result to stdout: ", std::strerror(errno))));
}

// On the one rank that speaks.
absl::Status WriteFile(const std::string& path, const std::string& text) {
  if (!Ranks::speaks()) return absl::OkStatus();
  std::FILE* file = std::fopen(path.c_str(), "wb");
  bool written = file != nullptr;
  if (written) written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (file != nullptr) written = std::fclose(file) == 0 && written;
  if (written) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("--output ", path, ": cannot write: ", std::strerror(errno)));
}

// Options that only mean something beside fields of the job.
absl::Status CheckOptions(const TrainOptions& options, const Job& job) {
  if (std::isfinite(options.until_loss) && job.evaluate().every() == 0) {
    return absl::InvalidArgumentError(
        "--until-eval-below waits for an evaluation and the job has none; set evaluate.every");
  }
  return absl::OkStatus();
}

}  // namespace

int Run(const TrainCommand& command) {
  absl::StatusOr<Ranks> ranks = Ranks::Start(command.job.ranks);
  if (!ranks.ok()) return Finish(ranks.status());
  TrainOptions options = command.options;
  absl::StatusOr<Job> job = LoadJob(command.job.path, command.job.overrides, &options.origins);
  OpRegistry ops;
  DefineAllOps(ops);
  absl::Status ready = job.status();
  if (ready.ok()) ready = ChooseMesh(ops, options.origins, nullptr, &*job).status();
  if (ready.ok()) {
    if (!command.metrics.empty()) job->mutable_log()->set_metrics(command.metrics);
    ready = CheckRanks(*job, ranks->size(), options.origins);
    if (ready.ok()) ready = CheckOptions(options, *job);
    if (ready.ok()) ready = CheckDevice(*job, LocalRankOf(0, ranks->size()).ranks, options.origins);
  }
  if (ready.ok() && command.verbose && ranks->speaks()) {
    std::printf("%s", PrintJob(*job).c_str());
  }
  KernelTable kernels;
  FillCpuKernels(ops, kernels);
  if (ranks->processes()) options.abort = nullptr;
  return ExitCodeOf(ranks->Run(
      [&](Transport& transport) {
        return ready.ok() ? TrainRank(*job, ops, kernels, transport, options) : ready;
      },
      ReportFailure));
}

int Run(const PlanCommand& command) {
  FieldOrigins origins;
  absl::StatusOr<Job> job = LoadJob(command.job.path, command.job.overrides, &origins);
  if (!job.ok()) return Finish(job.status());
  OpRegistry ops;
  DefineAllOps(ops);
  PlanReportOptions options;
  absl::StatusOr<Cluster> cluster;
  if (!command.cluster.empty()) {
    cluster = LoadCluster(command.cluster);
    if (!cluster.ok()) return Finish(cluster.status());
    options.cluster = &*cluster;
  }
  const absl::StatusOr<MeshChoice> choice = ChooseMesh(ops, origins, options.cluster, &*job);
  if (!choice.ok()) return Finish(choice.status());
  if (command.job.ranks > 0) {
    const absl::Status fits = CheckRanks(*job, command.job.ranks, origins);
    if (!fits.ok()) return Finish(fits);
  }
  const absl::StatusOr<PlanFormat> format = ParsePlanFormat(command.format);
  if (!format.ok()) return Finish(format.status());
  absl::StatusOr<PlanReport> report = ReportPlan(*job, ops, options);
  if (!report.ok()) return Finish(report.status());
  report->mesh_choice = *choice;
  const std::string text = FormatPlan(*report, *format);
  return command.output.empty() ? FinishWith(text) : Finish(WriteFile(command.output, text));
}

int Run(const SimulateCommand& command) {
  FieldOrigins origins;
  absl::StatusOr<Job> job = LoadJob(command.job.path, command.job.overrides, &origins);
  if (!job.ok()) return Finish(job.status());
  const absl::StatusOr<Cluster> cluster = LoadCluster(command.cluster);
  if (!cluster.ok()) return Finish(cluster.status());
  OpRegistry ops;
  DefineAllOps(ops);
  const absl::StatusOr<MeshChoice> choice = ChooseMesh(ops, origins, &*cluster, &*job);
  if (!choice.ok()) return Finish(choice.status());
  const absl::StatusOr<std::string> text = SimulateText(*job, *cluster, ops, command.steps);
  if (!text.ok()) return Finish(text.status());
  return FinishWith(*text);
}

}  // namespace weft
