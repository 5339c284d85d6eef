// What the actor runtime itself costs: messages between actors of one thread, tasks from the actor
// thread to a stream's worker, and a firing with two inputs and two outputs. Best of five rounds.
//
//   bench_actors [--json]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/executor.h"
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

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  const bool json = argc > 1 && std::strcmp(argv[1], "--json") == 0;
  constexpr int kMessages = 4;  // of a firing: two full, two free
  const double bare = weft::Firing(1, 0, true), kernel = weft::Firing(1, 1, true);
  const double worker = weft::Firing(1, 1, false), two = weft::Firing(2, 1, false);
  const double hand_over = weft::HandOver();
  const char* format =
      json ? "{\"messages_per_s\": %.4g, \"firing_ns\": %.4g, \"firing_with_kernel_ns\": %.4g, "
             "\"tasks_per_s\": %.4g, \"firing_on_worker_ns\": %.4g, "
             "\"firing_across_streams_ns\": %.4g}\n"
           : "same-thread messages        %10.4g /s\n"
             "firing, 2 in, 2 out         %10.4g ns\n"
             "  with a kernel call        %10.4g ns\n"
             "tasks to another thread     %10.4g /s\n"
             "firing on a worker          %10.4g ns\n"
             "firing, streams in turn     %10.4g ns\n";
  std::printf(format, kMessages / bare, bare * 1e9, kernel * 1e9, 1 / hand_over, worker * 1e9,
              two * 1e9);
  return 0;
}
