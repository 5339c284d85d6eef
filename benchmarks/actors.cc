// What the actor runtime itself costs, beside CAF 0.17 in the same run: messages between actors of one
// thread, messages to another thread, and a firing with two inputs and two outputs. Best of five rounds.
//
//   bench_actors
//
// One JSON line per figure. CAF runs the same ring of actors: each waits for two messages and sends
// two. Its actors are on one worker thread where weft's are; across threads a sender that is not an
// actor posts to one that is, as weft's actor thread does to a stream's worker.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/executor.h"
#include "caf/all.hpp"
#include "runtime/cpu_stream.h"

namespace weft {
namespace {

constexpr int kRounds = 5;
constexpr int kFirings = 1000;  // of an actor, a step
constexpr int kActors = 8;

// Runs tasks where they are enqueued: what is left is the actors' own cost.
class InlineStream final : public Stream {
 public:
  using Stream::Stream;
  void Push(const Task& task) override {
    if (task.run != nullptr) task.run(task.context, task.argument);
    completed_.Advance(submitted());
  }
};

absl::Status Nothing(const KernelContext&) { return absl::OkStatus(); }

// A ring of actors, joined by two channels each, on `streams` streams in turn. `kernels` per firing.
Plan Ring(int streams, int kernels) {
  Plan plan;
  plan.set_world_size(1);
  for (int s = 0; s < streams; ++s) plan.add_streams()->set_name("s" + std::to_string(s));
  for (int a = 0; a < kActors; ++a) {
    ActorDef* actor = plan.add_actors();
    actor->set_name("a" + std::to_string(a));
    actor->set_stream(a % streams);
    actor->set_firings_per_step(kFirings);
    actor->mutable_compute();
    for (int k = 0; k < kernels; ++k) actor->mutable_compute()->add_calls()->set_kernel("nothing");
  }
  for (int c = 0; c < 2 * kActors; ++c) {
    const int producer = c / 2, consumer = (producer + 1) % kActors;
    ChannelDef* channel = plan.add_channels();
    channel->set_name("c" + std::to_string(c));
    channel->set_producer(producer);
    ConsumerDef* def = channel->add_consumers();
    def->set_actor(consumer);
    def->set_reads_per_slot(1);
    channel->set_slots(2);
    channel->set_writes_per_slot(1);
    channel->set_initial(consumer == 0 ? 1 : 0);
    plan.mutable_actors(producer)->add_outputs(c);
    plan.mutable_actors(consumer)->add_inputs(c);
  }
  for (int i = 0; i < kFirings; ++i) {
    for (int a = 0; a < kActors; ++a) plan.mutable_streams(a % streams)->add_order(a);
  }
  return plan;
}

double SecondsOf(const std::function<void()>& work) {
  double best = 1e30;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
                              .count());
  }
  return best;
}

// Seconds of one firing of the ring.
double Firing(int streams, int kernels, bool inline_streams) {
  KernelTable table;
  table.Add("nothing", Nothing);
  ExecutorOptions options{.kernels = table};
  if (inline_streams) {
    options.make_stream = [](const std::string& name, int64_t) {
      return std::make_unique<InlineStream>(name);
    };
  }
  auto executor = Executor::Create(Ring(streams, kernels), std::move(options));
  if (!executor.ok()) {
    std::fprintf(stderr, "%s\n", executor.status().ToString().c_str());
    return 0;
  }
  constexpr int kSteps = 20;
  const double seconds = SecondsOf([&] { (*executor)->RunSteps(0, kSteps).IgnoreError(); });
  return seconds / (static_cast<double>(kSteps) * kFirings * kActors);
}

// Seconds of one task handed to a worker.
double HandOver() {
  constexpr int64_t kTasks = 1 << 20;
  CpuStream stream("s", kTasks);
  const Task task{.run = [](void*, int64_t) {}};
  return SecondsOf([&] {
           for (int64_t i = 0; i < kTasks; ++i) stream.Enqueue(task);
           CpuStream::Await(stream.Record());
         }) / kTasks;
}

// A member of CAF's ring.
struct RingState {
  caf::actor next;
  int full = 0;        // of its two inputs
  int64_t firings = 0;
  int64_t last = 0;    // tells the waiting thread after so many firings; 0: never
  caf::actor waiting;
};

caf::behavior RingMember(caf::stateful_actor<RingState>* self) {
  return {[self](const caf::actor& next) { self->state.next = next; },
          [self](const caf::actor& waiting, int64_t last) {
            self->state.waiting = waiting;
            self->state.last = last;
            self->state.firings = 0;
          },
          [self](int32_t token) {
            RingState& state = self->state;
            if (++state.full < 2) return;
            state.full = 0;
            if (++state.firings == state.last) self->send(state.waiting, true);
            if (state.last > 0 && state.firings >= state.last) return;  // the ring stands still
            self->send(state.next, token);
            self->send(state.next, token);
          }};
}

// Seconds of one firing of the same ring in CAF.
double CafFiring() {
  caf::actor_system_config config;
  config.set("scheduler.max-threads", 1);
  caf::actor_system system(config);
  caf::scoped_actor self(system);
  std::vector<caf::actor> ring;
  for (int a = 0; a < kActors; ++a) ring.push_back(system.spawn(RingMember));
  for (int a = 0; a < kActors; ++a) self->send(ring[a], ring[(a + 1) % kActors]);
  constexpr int64_t kTurns = 20 * kFirings;
  const double seconds = SecondsOf([&] {
    self->send(ring[0], caf::actor_cast<caf::actor>(self), kTurns);
    self->send(ring[0], int32_t{1});
    self->send(ring[0], int32_t{1});
    self->receive([](bool) {});
  });
  for (const caf::actor& actor : ring) self->send_exit(actor, caf::exit_reason::user_shutdown);
  return seconds / (static_cast<double>(kTurns) * kActors);
}

// Seconds of one message posted to an actor on CAF's worker.
double CafHandOver() {
  caf::actor_system_config config;
  config.set("scheduler.max-threads", 1);
  caf::actor_system system(config);
  caf::scoped_actor self(system);
  struct Count {
    int64_t messages = 0;
  };
  constexpr int64_t kMessages = 1 << 18;
  const caf::actor counter = system.spawn([](caf::stateful_actor<Count>* count) -> caf::behavior {
    return {[count](int32_t) { ++count->state.messages; }, [](const caf::actor& waiting, bool) {
              caf::anon_send(waiting, true);
            }};
  });
  const double seconds = SecondsOf([&] {
    for (int64_t i = 0; i < kMessages; ++i) caf::anon_send(counter, int32_t{1});
    self->send(counter, caf::actor_cast<caf::actor>(self), true);
    self->receive([](bool) {});
  });
  self->send_exit(counter, caf::exit_reason::user_shutdown);
  return seconds / kMessages;
}

void Print(const char* figure, const char* unit, double weft, double caf) {
  std::printf(
      "{\"benchmark\": \"actors\", \"figure\": \"%s\", \"unit\": \"%s\", \"weft\": %.4g",
      figure, unit, weft);
  if (caf > 0) std::printf(", \"caf\": %.4g", caf);
  std::printf("}\n");
}

}  // namespace
}  // namespace weft

int main() {
  constexpr double kMessages = 4;  // of a firing: two full, two free
  constexpr double kNs = 1e9;
  const double bare = weft::Firing(1, 0, true), caf_firing = weft::CafFiring();
  // CAF has no credits: the firing's two messages are all there are.
  weft::Print("messages on one thread", "per second", kMessages / bare, 2 / caf_firing);
  weft::Print("messages to another thread", "per second", 1 / weft::HandOver(),
              1 / weft::CafHandOver());
  weft::Print("firing, 2 in and 2 out", "ns", bare * kNs, caf_firing * kNs);
  weft::Print("the same with a kernel call", "ns", weft::Firing(1, 1, true) * kNs, 0);
  weft::Print("the same on a stream's worker", "ns", weft::Firing(1, 1, false) * kNs, 0);
  weft::Print("the same on two streams in turn", "ns", weft::Firing(2, 1, false) * kNs, 0);
  return 0;
}
