// The weft program: parses the command line, runs a command, turns its status into an exit code.
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "launcher/commands.h"
#include "launcher/ranks.h"
#include "runtime/logging.h"
#include "runtime/near_name.h"

namespace {

std::atomic<bool> interrupted{false};

std::atomic<int> report_requests{0};

// The first signal ends training after the step, the second one at once.
void OnInterrupt(int signal) {
  if (!interrupted.exchange(true)) return;
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}
void OnReportRequest(int) { ++report_requests; }

// The last resort: a thread of this process is stuck for good.
void Abort(const absl::Status& status) {
  std::fprintf(stderr, "weft: %s\nweft: a rank does not end after this failure; ending it\n",
               std::string(status.message()).c_str());
  std::_Exit(weft::ExitCodeOf(status));
}

// A number in [least, most]: CLI::Range lets nan pass.
CLI::Validator Within(double least, double most) {
  const auto check = [least, most](const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (end != text.c_str() && *end == 0 && value >= least && value <= most) return std::string();
    return absl::StrCat("'", text, "' must be from ", least, " to ", most);
  };
  return CLI::Validator(check, "");
}

// The exit code for a command that does not exist, or nothing.
std::optional<int> CheckCommandName(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return std::nullopt;
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    if (command->get_name() == argv[1]) return std::nullopt;
    known.push_back(command->get_name());
  }
  weft::ReportFailure(absl::InvalidArgumentError(
      absl::StrCat("no command '", argv[1], "'", weft::Suggest(argv[1], known))));
  return weft::kExitBadJob;
}

void AddJobArguments(CLI::App* command, weft::JobArguments* job) {
  command->add_option("JOB", job->path, "job file (protobuf text)")->required();
  command->add_option("--set", job->overrides.sets, "PATH=VALUE: override a field of the job")
      ->allow_extra_args(false);
  command->add_option("--mesh", job->overrides.mesh, "override the mesh, e.g. data:2,model:2");
}

void AddRanksArgument(CLI::App* command, weft::JobArguments* job) {
  command->add_option("--ranks", job->ranks, "ranks as threads of this process")
      ->check(Within(1, 1024));
}

void AddBenchCommArguments(CLI::App* command, weft::BenchCommCommand* bench) {
  command->add_option("COLLECTIVE", bench->collectives,
                      "all_reduce, all_gather, reduce_scatter, all_to_all, broadcast, sendrecv; "
                      "without any, all of them");
  command->add_option("-b,--min-bytes", bench->min_bytes, "smallest size, e.g. 8 or 64K")
      ->capture_default_str();
  command->add_option("-e,--max-bytes", bench->max_bytes, "largest size")->capture_default_str();
  command->add_option("-f,--factor", bench->factor, "from one size to the next (2)")
      ->check(Within(1, 1e9));
  command->add_option("-i,--step-bytes", bench->step_bytes, "added from one size to the next");
  command->add_option("-n,--iters", bench->iterations, "timed calls of each size")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_option("-w,--warmup", bench->warmup, "calls before them")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command->add_option("-o,--op", bench->op, "of reductions: sum or max")
      ->check(CLI::IsMember({"sum", "max"}));
  command->add_option("-d,--dtype", bench->dtype, "f32, bf16, ... or as nccl-tests: float, ...")
      ->capture_default_str();
  command->add_option("-c,--check", bench->check, "1: count wrong elements; 0: do not")
      ->check(CLI::Range(0, 1))
      ->capture_default_str();
  command->add_option("--mesh", bench->mesh,
                      "measure over the groups along each axis, e.g. data:2,model:2");
  command->add_option("--ranks", bench->ranks, "ranks as threads of this process")
      ->check(Within(1, 1024));
  command->add_flag("--json", bench->json, "one JSON object a line");
  command->add_option("--write-links", bench->write_links,
                      "cluster file that gets the fitted latency and bandwidth of each axis");
}

}  // namespace

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::WARNING;

  CLI::App app("weft: trains and runs models described once, on any mesh of ranks");
  app.require_subcommand(1);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return absl::StrCat("weft: ", error.what(), "; see weft --help\n");
  });
  app.set_version_flag("--version", "weft " WEFT_VERSION);

  weft::TrainCommand train;
  train.options.interrupted = &interrupted;
  train.options.report_requests = &report_requests;
  train.options.deadline = 600;
  train.options.abort = Abort;
  CLI::App* train_app =
      app.add_subcommand("train", "train a job; alone, with --ranks or under mpirun");
  AddJobArguments(train_app, &train.job);
  AddRanksArgument(train_app, &train.job);
  train_app->add_option("--metrics", train.metrics, "append one JSON object a step to this file");
  train_app->add_option("--trace", train.job.overrides.trace,
                        "write what happens in some steps to this file, for Perfetto");
  train_app->add_option("--trace-steps", train.job.overrides.trace_steps,
                        "FIRST:LAST: which; by default the eleventh to the thirteenth");
  train_app->add_flag("--resume", train.options.resume, "go on from the newest checkpoint");
  train_app
      ->add_option("--minutes", train.options.minutes,
                   "stop after so long, once the last evaluation is below "
                   "--until-eval-below")
      ->check(Within(0, 1e9));
  train_app
      ->add_option("--until-eval-below", train.options.until_loss,
                   "held-out loss (nats per token) to reach")
      ->check(Within(0, 1e9));
  train_app
      ->add_option("--max-minutes", train.options.max_minutes, "stop after so long at the latest")
      ->check(Within(0, 1e9));
  train_app
      ->add_option(
          "--deadline", train.options.deadline,
          "seconds without progress after which a stalled run ends (exit code 4); 0: never")
      ->check(Within(0, 1e6))
      ->capture_default_str();
  train_app->add_flag("-v,--verbose", train.verbose, "print the resolved job");

  weft::PlanCommand plan;
  CLI::App* plan_app = app.add_subcommand("plan", "compile a job and show the plan; runs nothing");
  AddJobArguments(plan_app, &plan.job);
  AddRanksArgument(plan_app, &plan.job);
  plan_app->add_option("--cluster", plan.cluster,
                       "cluster file (protobuf text) whose figures choose layouts and give times");
  plan_app->add_option("--format", plan.format, "text, json, dot or html")
      ->check(CLI::IsMember({"text", "json", "dot", "html"}));
  plan_app->add_option("--output", plan.output, "write to this file instead of stdout");

  weft::SimulateCommand simulate;
  CLI::App* simulate_app = app.add_subcommand(
      "simulate", "run a job's plans on virtual streams, on a cluster that need not be there");
  AddJobArguments(simulate_app, &simulate.job);
  simulate_app->add_option("--cluster", simulate.cluster, "cluster file (protobuf text)")
      ->required();
  simulate_app->add_option("--steps", simulate.steps, "steps to simulate; times are their mean")
      ->check(CLI::Range(1, 10000));

  weft::GenerateCommand generate;
  CLI::App* generate_app = app.add_subcommand("generate", "continue a text with a trained model");
  generate_app->add_option("--checkpoint", generate.checkpoint, "checkpoint folder")->required();
  generate_app->add_option("--prompt", generate.prompt, "text to continue");
  generate_app->add_option("--tokens", generate.tokens, "tokens to add")
      ->check(CLI::Range(1, 1 << 20));
  generate_app->add_option("--temperature", generate.temperature, "0: the likeliest token")
      ->check(Within(0, 1e3));
  generate_app->add_option("--seed", generate.seed, "of the sampling");

  weft::BenchCommCommand bench_comm;
  CLI::App* bench_app = app.add_subcommand("bench", "measure this machine");
  bench_app->require_subcommand(1);
  CLI::App* bench_comm_app = bench_app->add_subcommand(
      "comm", "time collectives, as nccl-tests does; alone, with --ranks or under mpirun");
  AddBenchCommArguments(bench_comm_app, &bench_comm);
  for (const char* elsewhere : {"kernels", "actors"}) {
    bench_app->add_subcommand(elsewhere, "see scripts/bench.sh")->allow_extras();
  }

  CLI::App* doctor_app = app.add_subcommand("doctor", "show what this machine offers");

  if (const std::optional<int> code = CheckCommandName(app, argc, argv)) return *code;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Every rank reads the same command line; one speaks of it.
    std::ostringstream unheard;
    const bool speaks = weft::Ranks::speaks();
    const int code = app.exit(error, speaks ? std::cout : unheard, speaks ? std::cerr : unheard);
    return code == 0 ? weft::kExitDone : weft::kExitBadJob;
  }
  if (train_app->parsed()) {
    std::signal(SIGINT, OnInterrupt);
    std::signal(SIGTERM, OnInterrupt);
    std::signal(SIGUSR1, OnReportRequest);
    return weft::Run(train);
  }
  if (plan_app->parsed()) return weft::Run(plan);
  if (simulate_app->parsed()) return weft::Run(simulate);
  if (generate_app->parsed()) return weft::Run(generate);
  if (bench_comm_app->parsed()) return weft::Run(bench_comm);
  if (bench_app->parsed()) {
    return weft::RunBenchElsewhere(bench_app->get_subcommands().front()->get_name());
  }
  if (doctor_app->parsed()) return weft::RunDoctor();
  return weft::kExitBadJob;
}
