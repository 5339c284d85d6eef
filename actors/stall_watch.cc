#include "actors/stall_watch.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "actors/stall_summary.h"

namespace weft {
namespace {

// How often the watch looks at signals, progress and its own deadlines.
constexpr std::chrono::milliseconds kTick{50};
// A launcher hands a signal to all ranks: what they want within so long is one thing. A gathering
// takes this long at least.
constexpr std::chrono::milliseconds kSameSignal{300};
// Of a note; what a report says beyond is cut.
constexpr size_t kReportBytes = 3000;

double Seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

void PrintToStderr(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

StallWatchOptions WithDefaults(StallWatchOptions options) {
  if (!options.print) options.print = PrintToStderr;
  return options;
}

}  // namespace

StallWatch::StallWatch(Transport& transport, StallWatchOptions options)
    : transport_(transport), options_(WithDefaults(std::move(options))) {
  if (options_.requests != nullptr) requests_seen_ = *options_.requests;
  transport_.OnNote([this](int from, std::string_view note) {
    std::lock_guard<std::mutex> lock(mutex_);
    inbox_.emplace_back(from, std::string(note));
    wake_.notify_one();
  });
  thread_ = std::thread([this] { Run(); });
}

StallWatch::~StallWatch() {
  transport_.OnNote(nullptr);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void StallWatch::Doing(std::string what, bool watched) {
  std::lock_guard<std::mutex> lock(mutex_);
  doing_ = std::move(what);
  watched_ = watched;
  since_ = Clock::now();
}

void StallWatch::Answer(const StallReport& report) {
  RankReportDef def;
  def.set_text(report.ToString());
  for (const StallReport::Wait& wait : report.WaitsForRanks()) {
    RankWaitDef* out = def.add_waits();
    out->set_actor(wait.actor);
    out->mutable_ranks()->Assign(wait.ranks.begin(), wait.ranks.end());
  }
  std::lock_guard<std::mutex> lock(mutex_);
  answer_ = std::move(def);
  wake_.notify_one();
}

void StallWatch::SetExecutor(Executor* executor) {
  std::lock_guard<std::mutex> lock(mutex_);
  executor_ = executor;
  since_ = Clock::now();
}

StallWatch::Scope::Scope(StallWatch* watch, Executor* executor) : watch_(watch) {
  if (watch_ != nullptr) watch_->SetExecutor(executor);
}

StallWatch::Scope::~Scope() {
  if (watch_ != nullptr) watch_->SetExecutor(nullptr);
}

// Notes are sent without mutex_: a transport in memory calls the receiver's listener at once.
void StallWatch::Run() {
  for (;;) {
    std::deque<std::pair<int, std::string>> inbox;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait_for(lock, kTick, [this] { return stopping_ || !inbox_.empty() || answer_; });
      if (stopping_) return;
      inbox.swap(inbox_);
    }
    for (const auto& [from, bytes] : inbox) {
      StallNote note;
      if (note.ParseFromString(bytes)) Handle(from, note);
    }
    LookAtSignals();
    LookAtDeadline();
    LookAtFailure();
    AnswerAsks();
    const Clock::time_point now = Clock::now();
    if (wanted_ && now - wanted_since_ >= transport_.rank() * options_.patience) {
      StartGathering(*wanted_);
    }
    if (!gathering_) continue;
    const auto& reports = gathering_->reports;
    const bool complete = std::all_of(reports.begin(), reports.end(),
                                      [](const auto& report) { return report.has_value(); });
    const auto age = now - gathering_->start;
    if (age >= options_.patience || (complete && age >= std::min(kSameSignal, options_.patience))) {
      FinishGathering();
    }
  }
}

void StallWatch::Handle(int from, const StallNote& note) {
  switch (note.kind()) {
    case StallNote::ASK:
      wanted_.reset();  // somebody gathers
      asks_.push_back({from, note.gathering(), Clock::now()});
      return;
    case StallNote::REPORT:
      if (gathering_ && gathering_->number == note.gathering()) {
        gathering_->reports[from] = note.report();
      }
      return;
    case StallNote::WANT:
      if (gathering_) {
        if (gathering_->stall.empty()) gathering_->stall = note.stall();
      } else if (!note.stall().empty() || Clock::now() - gathered_at_ >= kSameSignal) {
        StartGathering(note.stall());
      }
      return;
    default: return;
  }
}

// Turns to rank 0, which is this one at once: it sends the note to itself.
void StallWatch::Want(const std::string& stall) {
  if (!transport_.status().ok()) return;
  StallNote note;
  note.set_kind(StallNote::WANT);
  note.set_stall(stall);
  if (transport_.rank() != 0) {
    wanted_ = stall;
    wanted_since_ = Clock::now();
  }
  Send(0, note);
}

void StallWatch::LookAtSignals() {
  if (options_.requests == nullptr) return;
  const int requests = *options_.requests;
  if (requests == requests_seen_) return;
  requests_seen_ = requests;
  Want("");
}

void StallWatch::LookAtDeadline() {
  if (options_.deadline.count() == 0 || stalled_) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const Clock::time_point now = Clock::now();
    const int64_t progress = executor_ == nullptr ? -1 : executor_->progress();
    if (progress != progress_seen_ || (executor_ == nullptr && !watched_)) since_ = now;
    progress_seen_ = progress;
    if (now - since_ < options_.deadline) return;
  }
  stalled_ = true;
  Want(absl::StrCat("rank ", transport_.rank(), " made no progress for ",
                    Seconds(options_.deadline), " s"));
}

void StallWatch::LookAtFailure() {
  const absl::Status failure = transport_.status();
  if (failure.ok()) return;
  wanted_.reset();
  if (!failed_at_) failed_at_ = Clock::now();
  if (options_.abort && Clock::now() - *failed_at_ >= options_.abort_after) {
    options_.abort(failure);
  }
}

void StallWatch::AnswerAsks() {
  StallNote note;
  note.set_kind(StallNote::REPORT);
  RankReportDef* const report = note.mutable_report();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const Clock::time_point now = Clock::now();
    const std::string who = absl::StrCat("rank ", transport_.rank(), ": ");
    if (asks_.empty()) {
      answer_.reset();
      return;
    }
    if (answer_) {
      *report = *std::exchange(answer_, std::nullopt);
    } else if (executor_ == nullptr) {
      report->set_text(absl::StrCat(who, doing_));
    } else if (now - asks_.front().since >= options_.patience / 2) {
      report->set_text(absl::StrCat(who, "in a step, its actor thread does not answer"));
    } else {
      executor_->RequestReport();
      return;
    }
  }
  if (report->text().size() > kReportBytes) report->mutable_text()->resize(kReportBytes);
  while (note.ByteSizeLong() + 16 > Transport::kNoteBytes && report->waits_size() > 0) {
    report->mutable_waits()->RemoveLast();
  }
  for (const Ask& ask : std::exchange(asks_, {})) {
    note.set_gathering(ask.gathering);
    Send(ask.from, note);
  }
}

void StallWatch::StartGathering(std::string stall) {
  wanted_.reset();
  if (gathering_ || !transport_.status().ok()) return;
  gathering_ = {
      .number = gatherings_++, .start = Clock::now(), .stall = std::move(stall), .reports = {}};
  gathering_->reports.resize(transport_.size());
  StallNote note;
  note.set_kind(StallNote::ASK);
  note.set_gathering(gathering_->number);
  for (int rank = 0; rank < transport_.size(); ++rank) Send(rank, note);
}

void StallWatch::FinishGathering() {
  const Gathering done = *std::exchange(gathering_, std::nullopt);
  gathered_at_ = Clock::now();
  const std::string summary = StallSummary(done.reports);
  std::string text =
      absl::StrCat("weft: ", done.stall.empty() ? "what the ranks do" : done.stall, "\n");
  for (size_t rank = 0; rank < done.reports.size(); ++rank) {
    if (done.reports[rank]) {
      absl::StrAppend(&text, done.reports[rank]->text(), "\n");
    } else {
      absl::StrAppend(&text, "rank ", rank, ": absent, no answer for ", Seconds(options_.patience),
                      " s\n");
    }
  }
  options_.print(absl::StrCat(text, summary, "\n"));
  if (done.stall.empty()) return;
  transport_.Poison(absl::DeadlineExceededError(absl::StrCat(done.stall, "; ", summary)));
}

void StallWatch::Send(int to, const StallNote& note) {
  transport_.SendNote(to, note.SerializeAsString());
}

}  // namespace weft
