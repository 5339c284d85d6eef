#include "launcher/train.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "actors/stall_watch.h"
#include "launcher/batch_feed.h"
#include "launcher/bound_data.h"
#include "launcher/checkpoint.h"
#include "launcher/evaluation.h"
#include "launcher/job_data.h"
#include "launcher/job_graph.h"
#include "launcher/metrics.h"
#include "launcher/peak_flops.h"
#include "launcher/progress_line.h"
#include "launcher/rank_place.h"
#include "launcher/run_ahead.h"
#include "launcher/session.h"
#include "launcher/step_report.h"
#include "launcher/step_scalars.h"
#include "launcher/step_trace.h"
#include "launcher/stop_rule.h"
#include "runtime/rendezvous.h"
#include "runtime/status.h"

namespace weft {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A training step in flight, and the scalars that it hands out.
struct StepInFlight : StepScalars {
  Clock::time_point submitted;
};

StallWatchOptions WatchOptions(const TrainOptions& options) {
  StallWatchOptions watch;
  watch.deadline = std::chrono::milliseconds(static_cast<int64_t>(options.deadline * 1e3));
  watch.requests = options.report_requests;
  watch.abort = options.abort;
  return watch;
}

class Trainer {
 public:
  // `place` is the job's device, which outlives it.
  Trainer(const Job& job, const OpRegistry& ops, const KernelTable& kernels, Transport& transport,
          const TrainOptions& options, const RankPlace& place)
      : job_(job),
        ops_(ops),
        options_(options),
        transport_(transport),
        kernels_(kernels),
        place_(place),
        watch_(transport, WatchOptions(options)),
        session_(ops, kernels, transport, &watch_, place.ForSession()),
        stop_{job.train().steps(), options.minutes, options.until_loss, options.max_minutes},
        trace_(job, transport, [this](const std::string& message) { Say(message); }) {}

  absl::Status Run();

 private:
  bool speaks() const { return transport_.rank() == 0; }
  // To the person who runs this, on a line of its own.
  void Say(const std::string& message);
  absl::Status Load();
  // Whether a signal came to any rank while they loaded. Every rank calls it.
  absl::StatusOr<bool> InterruptedByNow();
  // The number of steps that are done already: those of a checkpoint, or none.
  absl::StatusOr<int64_t> FirstStep();
  absl::Status LoadPrograms(Graph graph);
  absl::Status MeasureMachine(double model_flops);
  StepInFlight& InFlight(int64_t step) {
    return in_flight_[static_cast<size_t>(step) % in_flight_.size()];
  }
  // The calls of RunAhead.
  absl::Status Submit(int64_t step);
  absl::StatusOr<Decision> Collect(int64_t step);
  bool Settles(int64_t done) const;
  absl::Status Settle(int64_t done, bool end);
  bool EvaluatesAfter(int64_t done) const;
  absl::Status Report(int64_t step, double seconds, const StepReport& total,
                      const std::map<std::string, double>& held_out);

  const Job& job_;
  const OpRegistry& ops_;
  const TrainOptions& options_;
  Transport& transport_;
  const KernelTable& kernels_;
  const RankPlace& place_;
  StallWatch watch_;
  Session session_;
  const StopRule stop_;
  StepTrace trace_;
  std::optional<BoundData> data_;
  // By step, modulo: a slot is written by the fetching thread until its step is collected, and is
  // this thread's until the step after the next is submitted.
  std::array<StepInFlight, Session::Runnable::kStepsAhead> in_flight_;
  std::unique_ptr<Session::Runnable> train_;  // after what it writes
  std::unique_ptr<Evaluation> evaluate_;
  std::optional<MetricsFile> metrics_;
  std::optional<ProgressLine> progress_;
  Clock::time_point start_;
  Clock::time_point last_end_;  // of a step
  double last_held_out_ = std::numeric_limits<double>::infinity();
  bool warned_of_loss_ = false;
  double peak_step_seconds_ = 0;  // a step at the machine's peak; 0: not measured
};

void Trainer::Say(const std::string& message) {
  if (progress_) {
    progress_->Say(message);
  } else {
    std::fprintf(stderr, "%s\n", message.c_str());
  }
}

absl::Status Trainer::Load() {
  WEFT_ASSIGN_OR_RETURN(Graph graph, TrainGraph(job_, ops_));
  WEFT_ASSIGN_OR_RETURN(BoundData data, BoundData::Open(job_, graph, options_.origins));
  data_.emplace(std::move(data));
  if (speaks() && !job_.checkpoint().dir().empty()) {
    WEFT_RETURN_IF_ERROR(Annotate(CheckCheckpointFolder(job_.checkpoint().dir()),
                                  WhereWritten(options_.origins, "checkpoint.dir")));
  }
  if (speaks() && !job_.log().metrics().empty()) {
    absl::StatusOr<MetricsFile> metrics = MetricsFile::Open(job_.log().metrics());
    if (!metrics.ok()) {
      return Annotate(metrics.status(), WhereWritten(options_.origins, "log.metrics"));
    }
    metrics_.emplace(*std::move(metrics));
  }
  WEFT_RETURN_IF_ERROR(Annotate(trace_.Open(), WhereWritten(options_.origins, "log.trace")));
  return LoadPrograms(std::move(graph));
}

// Metrics give mfu: the share of the machine's peak that the model's arithmetic gets.
absl::Status Trainer::MeasureMachine(double model_flops) {
  if (job_.log().metrics().empty()) return absl::OkStatus();
  WEFT_RETURN_IF_ERROR(Barrier(transport_));
  const DType dtype = ComputeType(job_);
  const bool tf32 = job_.train().dtype() == Job::Train::TF32;
  const double one = place_.device == nullptr ? MeasurePeakFlops(ops_, kernels_, dtype)
                                              : place_.device->peak_flops(dtype, tf32);
  const double peak = one * transport_.size();
  if (peak > 0) peak_step_seconds_ = model_flops / peak;
  return absl::OkStatus();
}

absl::Status Trainer::LoadPrograms(Graph graph) {
  const double model_flops = ModelFlops(graph, job_.train().microbatches());
  const auto take = [this](std::string_view name, int64_t step, int64_t, const Operand& in) {
    return InFlight(step).Take(name, in);
  };
  auto train = session_.Load(std::move(graph), CompileOptionsOf(job_),
                             BatchFeed(job_, *data_, /*held_out=*/false), take);
  if (!train.ok()) return Annotate(train.status(), ModelName(job_));
  train_ = *std::move(train);
  if (job_.evaluate().every() > 0) {
    WEFT_ASSIGN_OR_RETURN(evaluate_, Evaluation::Load(job_, ops_, *data_, session_));
  }
  return MeasureMachine(model_flops);
}

absl::Status Trainer::Report(int64_t step, double seconds, const StepReport& total,
                             const std::map<std::string, double>& held_out) {
  const StepInFlight& scalars = InFlight(step);
  StepMetrics metrics;
  metrics.step = step + 1;
  metrics.loss = scalars.loss;
  metrics.grad_norm = scalars.grad_norm;
  metrics.loss_scale = scalars.loss_scale;
  metrics.skipped = scalars.skipped;
  metrics.lr = LearningRate(job_, step);
  metrics.tokens = TargetsPerStep(job_);
  metrics.tokens_per_s = static_cast<double>(metrics.tokens) / seconds;
  metrics.step_ms = seconds * 1e3;
  metrics.mfu = peak_step_seconds_ > 0 ? peak_step_seconds_ / seconds : std::nan("");
  metrics.bytes_sent = total.bytes_sent;
  metrics.mem_peak_bytes = total.memory_bytes;
  for (const auto& [name, value] : scalars.metrics) metrics.more.push_back({name, value});
  for (const auto& [name, value] : held_out) {
    metrics.more.push_back({absl::StrCat("eval_", name), value});
  }
  if (progress_) {
    const double spent = SecondsSince(start_);
    progress_->Update(metrics, spent, stop_.Left(step + 1, spent, last_held_out_, seconds));
    if (!held_out.empty()) {
      const std::string bits =
          absl::StrFormat(" (%.4f bits per token)", last_held_out_ / std::log(2.0));
      progress_->Say(absl::StrFormat("step %d: held-out loss %.4f%s", step + 1, last_held_out_,
                                     IsStream(job_.data(0)) ? bits : ""));
    }
  }
  return metrics_ ? metrics_->Append(metrics) : absl::OkStatus();
}

absl::Status Trainer::Submit(int64_t step) {
  InFlight(step).submitted = Clock::now();
  return train_->Submit(step);
}

bool Trainer::EvaluatesAfter(int64_t done) const {
  if (evaluate_ == nullptr) return false;
  return done % job_.evaluate().every() == 0 || done == job_.train().steps();
}

bool Trainer::Settles(int64_t done) const {
  const int64_t every = job_.checkpoint().every();
  return EvaluatesAfter(done) || (every > 0 && done % every == 0);
}

absl::StatusOr<Decision> Trainer::Collect(int64_t step) {
  StepReport mine;
  WEFT_ASSIGN_OR_RETURN(mine.bytes_sent, train_->Collect());
  // A step that was submitted early has the streams for itself once the one before has ended.
  const Clock::time_point begin = std::max(InFlight(step).submitted, last_end_);
  last_end_ = Clock::now();
  const double seconds = std::chrono::duration<double>(last_end_ - begin).count();
  mine.memory_bytes = train_->plan().arena_bytes() + session_.variables().bytes() +
                      (evaluate_ ? evaluate_->arena_bytes() : 0);
  std::map<std::string, double> held_out;
  if (EvaluatesAfter(step + 1)) {
    WEFT_ASSIGN_OR_RETURN(held_out, evaluate_->Run());
    last_held_out_ = held_out["loss"];
  }
  Decision decision = Decision::kContinue;
  if (stop_.Stops(step + 1, SecondsSince(start_), last_held_out_)) decision = Decision::kStop;
  if (options_.interrupted != nullptr && *options_.interrupted) decision = Decision::kInterrupt;
  WEFT_ASSIGN_OR_RETURN(const StepReport total, ExchangeReports(transport_, mine, &decision));
  if (speaks()) WEFT_RETURN_IF_ERROR(Report(step, seconds, total, held_out));
  WEFT_RETURN_IF_ERROR(InFlight(step).CheckLoss(job_, step));
  const double loss = InFlight(step).loss;
  if (speaks() && !warned_of_loss_ && !std::isfinite(loss)) {
    warned_of_loss_ = true;
    Say(absl::StrCat("weft: warning: the loss of step ", step + 1, " is ", loss,
                     "; training goes on. The last checkpoint before it is kept; a lower "
                     "learning rate, a longer warm-up or clip_norm may help"));
  }
  watch_.Doing(absl::StrCat("writing the trace, if it is time, after step ", step + 1),
               /*watched=*/false);
  WEFT_RETURN_IF_ERROR(trace_.Collected(step + 1));
  watch_.Doing(absl::StrCat("between steps, ", step + 1, " done"), /*watched=*/true);
  return decision;
}

absl::Status Trainer::Settle(int64_t done, bool end) {
  const int64_t every = job_.checkpoint().every();
  const bool due = every > 0 && done % every == 0;
  if (job_.checkpoint().dir().empty() || !(due || end)) return absl::OkStatus();
  watch_.Doing(absl::StrCat("saving a checkpoint after step ", done),
               /*watched=*/false);
  WEFT_RETURN_IF_ERROR(SaveCheckpoint(job_, done, std::isfinite(InFlight(done - 1).loss),
                                      session_.variables(), transport_));
  watch_.Doing(absl::StrCat("between steps, ", done, " done"), /*watched=*/true);
  return absl::OkStatus();
}

absl::StatusOr<bool> Trainer::InterruptedByNow() {
  Decision decision = Decision::kContinue;
  if (options_.interrupted != nullptr && *options_.interrupted) decision = Decision::kInterrupt;
  WEFT_RETURN_IF_ERROR(ExchangeReports(transport_, {}, &decision).status());
  return decision == Decision::kInterrupt;
}

absl::StatusOr<int64_t> Trainer::FirstStep() {
  const absl::StatusOr<std::string> newest = NewestCheckpoint(job_.checkpoint().dir());
  if (options_.resume) {
    watch_.Doing("restoring a checkpoint", /*watched=*/false);
    WEFT_RETURN_IF_ERROR(newest.status());
    return RestoreCheckpoint(*newest, job_, RestoreScope::kAll, session_.variables(), transport_);
  }
  if (speaks() && newest.ok()) {
    Say(absl::StrCat("weft: warning: ", *newest,
                     " is there already and this run begins anew: its "
                     "checkpoints will push out those of before; --resume goes on from them"));
  }
  return 0;
}

absl::Status Trainer::Run() {
  watch_.Doing("loading the job", /*watched=*/false);
  WEFT_RETURN_IF_ERROR(Load());
  WEFT_ASSIGN_OR_RETURN(const bool interrupted, InterruptedByNow());
  if (interrupted) return absl::CancelledError("interrupted before the first step");
  WEFT_ASSIGN_OR_RETURN(const int64_t step, FirstStep());
  const std::string device = place_.device == nullptr ? "CPU" : place_.device->name();
  WEFT_RETURN_IF_ERROR(Annotate(trace_.Begin(*train_, device, step),
                                WhereWritten(options_.origins, "log.trace_steps")));
  const std::string& dir = job_.checkpoint().dir();
  start_ = Clock::now();
  if (speaks() && options_.progress)
    progress_.emplace(stderr, isatty(2) != 0, job_.train().steps());
  watch_.Doing("between steps", /*watched=*/true);
  WEFT_ASSIGN_OR_RETURN(
      const RunAheadEnd end,
      RunAhead(step, job_.train().steps(), Session::Runnable::kStepsAhead,
               {.submit = [this](int64_t s) { return Submit(s); },
                .collect = [this](int64_t s) { return Collect(s); },
                .settles = [this](int64_t done) { return Settles(done); },
                .settle = [this](int64_t done, bool last) { return Settle(done, last); }}));
  WEFT_RETURN_IF_ERROR(trace_.End());
  if (end.decision == Decision::kInterrupt) {
    return absl::CancelledError(
        absl::StrCat("interrupted after step ", end.done,
                     dir.empty() ? "" : absl::StrCat("; continue with --resume from ", dir)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status TrainRank(const Job& job, const OpRegistry& ops, const KernelTable& kernels,
                       Transport& transport, const TrainOptions& options) {
  WEFT_ASSIGN_OR_RETURN(const RankPlace place,
                        MakeRankPlace(job, LocalRankOf(transport.rank(), transport.size())));
  const absl::Status status = Trainer(job, ops, kernels, transport, options, place).Run();
  // Before the device goes: it leaves otherwise where ranks have failed.
  if (!status.ok()) transport.Poison(status);
  return status;
}

}  // namespace weft
