#include "actors/executor.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "actors/actor_factory.h"
#include "actors/plan_check.h"
#include "actors/stall_report.h"
#include "actors/stream_needs.h"
#include "runtime/logging.h"
#include "runtime/status.h"

namespace weft {
namespace {

// How often a waiting actor thread looks at requests, deadlines and other ranks' failures.
constexpr std::chrono::milliseconds kWatchInterval{50};

// How often somebody who waits for room looks at all streams.
constexpr std::chrono::microseconds kRoomInterval{50};

// In the first steps of a plan where ranks exchange, so many at least, and more where recordings
// are many (Actor::settling_firings), nothing else is launched until an exchange has ended. A
// kernel is loaded when it is first called, and a recording when it is first replayed; that waits
// for all that the device has under way, with locks of the process: for an exchange, too, whose
// other rank may need those locks to come to it.
constexpr int64_t kFewestOneByOne = 3;

// Some calls of kernels start more than one: so many in all for each four.
constexpr int64_t kLaunchesOfFour = 5;

}  // namespace

Executor::Executor(Plan plan, ExecutorOptions options)
    : plan_(std::move(plan)),
      options_(std::move(options)),
      device_(options_.device != nullptr ? *options_.device : cpu_),
      failure_(plan_.rank(), options_.transport) {}

Executor::~Executor() {
  // Streams wait for one another: none may go before all have ended.
  for (const Lane& lane : lanes_) lane.stream->completed().Await(lane.stream->submitted());
}

absl::StatusOr<std::unique_ptr<Executor>> Executor::Create(Plan plan, ExecutorOptions options) {
  auto executor = std::unique_ptr<Executor>(new Executor(std::move(plan), std::move(options)));
  WEFT_RETURN_IF_ERROR(
      Annotate(executor->Build(), absl::StrCat("plan of rank ", executor->plan_.rank())));
  return executor;
}

absl::Status Executor::Build() {
  WEFT_RETURN_IF_ERROR(CheckPlan(plan_));
  Transport* const transport = options_.transport;
  if (transport != nullptr &&
      (transport->rank() != plan_.rank() || transport->size() != plan_.world_size())) {
    return absl::InvalidArgumentError(absl::StrCat("it is for ", plan_.world_size(),
                                                   " ranks; this is rank ", transport->rank(),
                                                   " of ", transport->size()));
  }
  WEFT_ASSIGN_OR_RETURN(arena_, device_.Allocate(plan_.arena_bytes()));
  WEFT_ASSIGN_OR_RETURN(buffers_, LoadBuffers(plan_, arena_, options_.variables));
  for (const ChannelDef& def : plan_.channels()) {
    channels_.push_back(std::make_unique<Channel>(def));
  }
  if (device_.queue() != nullptr && transport != nullptr && transport->size() > 1) {
    messenger_ = device_.queue()->MakeMessenger(*transport);
  }
  const ActorContext context{
      .plan = plan_,
      .device = device_,
      .messenger = messenger_.get(),
      .buffers = buffers_,
      .arena = arena_,
      .kernels = options_.kernels,
      .transport = transport,
      .communicator = [this](const AllReduceDef& def) { return CommunicatorOf(def); },
      .feed = options_.feed,
      .fetch = options_.fetch,
      .steps = steps_,
      .step_word = options_.step_word,
      .recording = options_.recording,
      .failure = failure_,
      .channels = channels_};
  for (int a = 0; a < plan_.actors_size(); ++a) {
    WEFT_ASSIGN_OR_RETURN(std::unique_ptr<Actor> actor, MakeActor(context, a));
    actors_.push_back(std::move(actor));
  }
  if (messenger_ != nullptr) {
    WEFT_RETURN_IF_ERROR(Annotate(messenger_->Connect(), "connecting GPUs"));
  }
  for (const StreamDef& def : plan_.streams()) {
    Lane& lane = lanes_.emplace_back();
    int64_t capacity = 1;  // the stream's end
    for (int a : def.order()) {
      lane.order.push_back(actors_[a].get());
      capacity += kStepsAhead * EntriesOf(plan_, *actors_[a]);
    }
    lane.ends.resize((kStepsAhead + 1) * lane.order.size());
    lane.bound = LaunchBound(lane.ends.size());
    if (options_.make_stream) {
      lane.stream = options_.make_stream(def.name(), capacity);
    } else {
      WEFT_ASSIGN_OR_RETURN(lane.stream,
                            device_.MakeStream(def.name(), capacity, WorkOf(plan_, def)));
    }
    for (Actor* actor : lane.order) actor->set_stream(lane.stream.get());
  }
  steps_one_by_one_ = kFewestOneByOne;
  for (const std::unique_ptr<Actor>& actor : actors_) {
    const int64_t in_step = actor->def().firings_per_step();
    steps_one_by_one_ =
        std::max(steps_one_by_one_, (actor->settling_firings() + in_step - 1) / in_step);
  }
  return absl::OkStatus();
}

absl::StatusOr<Communicator*> Executor::CommunicatorOf(const AllReduceDef& def) {
  std::unique_ptr<Communicator>& slot = communicators_[def.communicator()];
  if (slot != nullptr) {
    if (std::equal(def.ranks().begin(), def.ranks().end(), slot->world_ranks().begin(),
                   slot->world_ranks().end())) {
      return slot.get();
    }
    return absl::InvalidArgumentError(
        absl::StrCat("communicator ", def.communicator(), " has the ranks ",
                     absl::StrJoin(slot->world_ranks(), ","), " elsewhere"));
  }
  if (options_.transport == nullptr) {
    return absl::FailedPreconditionError("there is no transport to reduce over");
  }
  if (def.communicator() < 0 || def.communicator() >= static_cast<int>(Transport::kTagLimit / 2)) {
    return absl::InvalidArgumentError(absl::StrCat("communicator ", def.communicator()));
  }
  // Exchanges have the even tags.
  WEFT_ASSIGN_OR_RETURN(
      slot, device_.MakeCommunicator(*options_.transport,
                                     std::vector<int>(def.ranks().begin(), def.ranks().end()),
                                     2 * static_cast<uint32_t>(def.communicator()) + 1));
  return slot.get();
}

absl::Status Executor::Launch(int64_t step) {
  if (launched_ >= kStepsAhead) {
    WEFT_RETURN_IF_ERROR(Await(launched_ - kStepsAhead));
  }
  failure_.Poll();
  if (failure_.failed()) return failure_.status();
  const int64_t slot = launched_ % StepsInFlight::kInFlight;
  steps_.number[slot] = step;
  steps_.bytes_sent[slot].store(0, std::memory_order_relaxed);
  size_t left = 0;
  for (Lane& lane : lanes_) {
    lane.next = 0;
    left += lane.order.size();
  }
  // CheckPlan has shown that some head is always ready.
  while (left > 0) {
    const size_t before = left;
    bool full = false;
    for (Lane& lane : lanes_) {
      while (lane.next < lane.order.size() && lane.order[lane.next]->Ready()) {
        if (IsFull(lane)) {
          full = true;
          break;
        }
        Actor& actor = *lane.order[lane.next];
        const int64_t calls = CallsOf(actor);
        actor.Launch();
        lane.bound.Add(*lane.stream, calls);
        lane.ends[launched_ % (kStepsAhead + 1) * lane.order.size() + lane.next] =
            lane.stream->submitted();
        ++lane.next;
        --left;
        if (IsOneByOne(actor)) WEFT_RETURN_IF_ERROR(AwaitAll(lane));
      }
    }
    if (left < before) continue;
    CHECK(full) << "no actor is ready";
    WEFT_RETURN_IF_ERROR(AwaitRoom());
  }
  ++launched_;
  return absl::OkStatus();
}

bool Executor::IsFull(Lane& lane) {
  return messenger_ != nullptr && lane.bound.IsFull(*lane.stream, CallsOf(*lane.order[lane.next]));
}

int64_t Executor::CallsOf(const Actor& actor) const {
  const int64_t launches = actor.calls(actor.launched()) * kLaunchesOfFour / 4;
  // An event behind each task, and a count behind the last.
  return launches + actor.marks() + WaitsOf(plan_, actor) + actor.tasks() + 1;
}

bool Executor::IsOneByOne(const Actor& actor) const {
  return messenger_ != nullptr && launched_ < steps_one_by_one_ &&
         (actor.def().has_exchange() || actor.def().has_all_reduce());
}

absl::Status Executor::AwaitAll(const Lane& lane) {
  for (Lane& each : lanes_) each.since = std::chrono::steady_clock::now();
  while (!lane.stream->completed().AwaitFor(lane.stream->submitted(), kWatchInterval)) {
    if (!Watch()) return failure_.status();
  }
  return absl::OkStatus();
}

absl::Status Executor::AwaitRoom() {
  for (Lane& lane : lanes_) lane.since = std::chrono::steady_clock::now();
  auto watched = std::chrono::steady_clock::now();
  const auto has_room = [this](Lane& lane) {
    return lane.next < lane.order.size() && lane.order[lane.next]->Ready() && !IsFull(lane);
  };
  while (std::none_of(lanes_.begin(), lanes_.end(), has_room)) {
    std::this_thread::sleep_for(kRoomInterval);
    const auto now = std::chrono::steady_clock::now();
    if (now - watched < kWatchInterval) continue;
    if (!Watch()) return failure_.status();
    watched = now;
  }
  return absl::OkStatus();
}

absl::Status Executor::TimeSteps(int64_t first, int64_t count) {
  CHECK_EQ(ended(), launched_) << "a step is in flight";
  std::vector<TimedActor> timed;
  for (const std::unique_ptr<Actor>& actor : actors_) timed.push_back(actor->timed());
  WEFT_ASSIGN_OR_RETURN(times_, FiringTimes::Make(device_, std::move(timed), first, count));
  for (const std::unique_ptr<Actor>& actor : actors_) actor->set_times(times_.get());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<FiringTime>> Executor::ReadTimes() const {
  if (times_ == nullptr) return std::vector<FiringTime>();
  return times_->Read();
}

int64_t Executor::ended() const {
  int64_t ended = std::max<int64_t>(launched_ - kStepsAhead, 0);
  for (; ended < launched_; ++ended) {
    for (const Lane& lane : lanes_) {
      if (lane.order.empty()) continue;
      if (lane.stream->completed().value() < EndOf(lane, ended, lane.order.size() - 1))
        return ended;
    }
  }
  return ended;
}

int64_t Executor::progress() const {
  int64_t completed = 0;
  for (const Lane& lane : lanes_) completed += lane.stream->completed().value();
  return completed;
}

absl::Status Executor::Await(int64_t launch) {
  if (launch < launched_ - kStepsAhead) {  // Launch has awaited it
    failure_.Poll();
    return failure_.status();
  }
  ServeReport();  // of short steps nobody waits long enough to watch
  for (Lane& lane : lanes_) lane.since = std::chrono::steady_clock::now();
  for (const Lane& lane : lanes_) {
    if (lane.order.empty()) continue;
    const int64_t end = EndOf(lane, launch, lane.order.size() - 1);
    while (!lane.stream->completed().AwaitFor(end, kWatchInterval)) {
      if (!Watch()) return failure_.status();
    }
  }
  ReportBreakdown();
  const absl::Status fault = device_.TakeFault();
  if (!fault.ok()) {
    const int64_t step = steps_.number[launch % StepsInFlight::kInFlight] + 1;
    failure_.Set(Annotate(fault, absl::StrCat(options_.step_word, " ", step, " or the next")));
  }
  failure_.Poll();
  return failure_.status();
}

void Executor::ServeReport() {
  if (!report_requested_.exchange(false) || !options_.on_report) return;
  options_.on_report(StallReport(*this));
}

void Executor::ReportBreakdown() {
  for (const Lane& lane : lanes_) {
    const std::optional<Stream::Breakdown> breakdown = lane.stream->breakdown();
    if (!breakdown) continue;
    std::string where = absl::StrCat("stream `", lane.stream->name(), "`");
    for (int64_t launch = std::max<int64_t>(launched_ - kStepsAhead, 0); launch <= launched_;
         ++launch) {
      const size_t entries = launch == launched_ ? lane.next : lane.order.size();
      for (size_t entry = 0; entry < entries; ++entry) {
        if (EndOf(lane, launch, entry) <= breakdown->completed) continue;
        const int64_t step = steps_.number[launch % StepsInFlight::kInFlight] + 1;
        absl::StrAppend(&where, ", actor `", lane.order[entry]->name(), "` or one after it, ",
                        options_.step_word, " ", step);
        return failure_.Set(Annotate(breakdown->status, where));
      }
    }
    return failure_.Set(Annotate(breakdown->status, where));
  }
}

bool Executor::Watch() {
  ReportBreakdown();
  failure_.Poll();
  ServeReport();
  const auto now = std::chrono::steady_clock::now();
  auto latest = std::chrono::steady_clock::time_point::min();
  for (Lane& lane : lanes_) {
    const int64_t completed = lane.stream->completed().value();
    if (completed != lane.seen) {
      lane.seen = completed;
      lane.since = now;
    }
    latest = std::max(latest, lane.since);
  }
  if (options_.deadline.count() == 0 || now - latest < options_.deadline) return true;
  if (failure_.failed()) return false;  // it does not even drain
  failure_.Set(absl::DeadlineExceededError(
      absl::StrCat("no progress for ", std::chrono::duration<double>(options_.deadline).count(),
                   " s\n", Report())));
  for (Lane& lane : lanes_) lane.since = now;
  return true;
}

absl::Status Executor::VisitCalls(const KernelVisitor& visit) {
  for (const auto& actor : actors_) WEFT_RETURN_IF_ERROR(actor->VisitCalls(visit));
  return absl::OkStatus();
}

absl::Status Executor::Wait() {
  if (launched_ > 0) WEFT_RETURN_IF_ERROR(Await(launched_ - 1));
  failure_.Poll();
  return failure_.status();
}

absl::Status Executor::RunSteps(int64_t first_step, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const absl::Status status = Launch(first_step + i);
    if (!status.ok()) break;
  }
  return Wait();
}

void Executor::Cancel() { failure_.Set(absl::CancelledError("cancelled")); }

std::string Executor::Report() const { return StallReport(*this).ToString(); }

}  // namespace weft
