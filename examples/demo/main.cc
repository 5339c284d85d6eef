// demo_report: the demo's yardsticks, picture and summary. scripts/demo.sh runs it twice:
//
//   demo_report yardsticks --job JOB --dir DIR     measures them into DIR/yardsticks.json and
//   prints
//                                                  the loss to beat, in nats per byte
//   demo_report report --job JOB --dir DIR         reads DIR/yardsticks.json, DIR/metrics.jsonl of
//   the
//                                                  run and, if it exists, DIR/whole.jsonl of an
//                                                  evaluation of the whole held-out part; writes
//                                                  DIR/loss_curve.svg and DIR/summary.json
//
// Both take --set and --mesh as `weft train` does. Exit 2: the job or a file is wrong.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "examples/demo/loss_curve_svg.h"
#include "examples/demo/metrics_curve.h"
#include "examples/demo/summary.h"
#include "examples/demo/yardsticks.h"
#include "launcher/job.h"
#include "runtime/status.h"

namespace weft {
namespace {

struct Options {
  std::string job;
  std::string dir = "runs/demo";
  JobOverrides overrides;
};

absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.flush();
  if (!file) return absl::FailedPreconditionError(absl::StrCat("cannot write '", path, "'"));
  return absl::OkStatus();
}

absl::Status RunYardsticks(const Options& options) {
  WEFT_ASSIGN_OR_RETURN(const Job job, LoadJob(options.job, options.overrides));
  std::error_code ignored;  // writing gives the reason
  std::filesystem::create_directories(options.dir, ignored);
  WEFT_ASSIGN_OR_RETURN(const Yardsticks yardsticks, MeasureYardsticks(job));
  WEFT_RETURN_IF_ERROR(WriteYardsticks(yardsticks, options.dir + "/yardsticks.json"));
  std::cerr << absl::StrFormat("to beat, in bits per byte: 3-gram %.3f, gzip -9 %.3f\n",
                               yardsticks.ngram3_bpb, yardsticks.gzip_bpb);
  std::cout << absl::StrFormat("%.6f\n", yardsticks.LossToBeat());
  return absl::OkStatus();
}

absl::Status RunReport(const Options& options) {
  WEFT_ASSIGN_OR_RETURN(const Job job, LoadJob(options.job, options.overrides));
  WEFT_ASSIGN_OR_RETURN(const MetricsCurve curve, ReadMetricsCurve(options.dir + "/metrics.jsonl"));
  WEFT_ASSIGN_OR_RETURN(const Yardsticks yardsticks,
                        ReadYardsticks(options.dir + "/yardsticks.json"));
  const absl::StatusOr<MetricsCurve> whole = ReadMetricsCurve(options.dir + "/whole.jsonl");
  if (!whole.ok() && !absl::IsNotFound(whole.status())) return whole.status();
  WEFT_ASSIGN_OR_RETURN(const Outcome outcome,
                        OutcomeOf(curve, whole.ok() ? &*whole : nullptr, yardsticks));
  const std::string picture = options.dir + "/loss_curve.svg";
  const std::string title = absl::StrCat("weft: ", job.name(), ", mesh ", job.mesh(), ", ",
                                         Job::Train::DataType_Name(job.train().dtype()));
  WEFT_RETURN_IF_ERROR(WriteFile(
      picture, DrawLossCurve(curve, {{"3-gram", outcome.ngram3_bpb}, {"gzip -9", outcome.gzip_bpb}},
                             title)));
  const std::string summary = options.dir + "/summary.json";
  WEFT_RETURN_IF_ERROR(WriteFile(summary, PrintSummary(job, curve, outcome)));
  std::cout << PrintFigures(curve, outcome, yardsticks) << "loss curve: " << picture
            << "\nsummary:    " << summary << "\n";
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app("The demo's yardsticks, picture and summary");
  app.require_subcommand(1);
  Options options;
  CLI::App* yardsticks = app.add_subcommand("yardsticks", "Measure what the model has to beat");
  CLI::App* report = app.add_subcommand("report", "Draw and sum up a run");
  for (CLI::App* command : {yardsticks, report}) {
    command->add_option("--job", options.job, "the job file")->required();
    command->add_option("--dir", options.dir, "where the run's files lie")->capture_default_str();
    command->add_option("--set", options.overrides.sets, "path=value, over the job's fields")
        ->allow_extra_args(false);
    command->add_option("--mesh", options.overrides.mesh, "over the job's mesh");
  }
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = yardsticks->parsed() ? RunYardsticks(options) : RunReport(options);
  if (status.ok()) return 0;
  std::cerr << "demo_report: " << status.message() << "\n";
  return 2;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) { return weft::Main(argc, argv); }
