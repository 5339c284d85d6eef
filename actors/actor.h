// Actor: fires when every input has a full slot and every output a free one. The base owns the
// credit protocol; a kind overrides Fire alone.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actors/buffers.h"
#include "actors/channel.h"
#include "actors/failure.h"
#include "actors/firing_times.h"
#include "actors/recordings.h"
#include "runtime/communicator.h"
#include "runtime/device.h"
#include "runtime/kernel.h"
#include "runtime/plan.pb.h"
#include "runtime/stream.h"
#include "runtime/transport.h"

namespace weft {

// Host data in or out: input or result `name`, step as given to the executor, microbatch 0, 1, ...
// within it. Called on a stream's worker; fills (feed) or reads (fetch) operand.data. A failure
// poisons the rank.
using HostFunction = std::function<absl::Status(std::string_view name, int64_t step,
                                                int64_t microbatch, const Operand& operand)>;

// What belongs to a step in flight, by launch modulo kInFlight.
struct StepsInFlight {
  static constexpr int kInFlight = 4;  // more than the host runs ahead
  // As given to the executor. Written by the actor thread before the step's tasks.
  std::array<int64_t, kInFlight> number{};
  // Payload to other ranks. Added to by the step's tasks.
  std::array<std::atomic<int64_t>, kInFlight> bytes_sent{};
};

// What the executor gives its actors. All of it outlives them.
struct ActorContext {
  const Plan& plan;
  Device& device;
  DeviceMessenger* messenger;  // null on a device without a queue, and where nothing is sent
  const std::vector<Buffer>& buffers;
  const Arena& arena;
  const KernelTable& kernels;
  Transport* transport;  // may be null
  // The communicator of an all-reduce; owned by the executor.
  std::function<absl::StatusOr<Communicator*>(const AllReduceDef&)> communicator;
  const HostFunction& feed;
  const HostFunction& fetch;
  StepsInFlight& steps;
  const std::string& step_word;  // ExecutorOptions
  Recording recording;           // ExecutorOptions
  Failure& failure;
  std::vector<std::unique_ptr<Channel>>& channels;
};

// One ActorDef at work. Ready and Launch belong to the actor thread. Its tasks run one at a time on
// its stream, later; they are skipped once the rank has failed.
class Actor {
 public:
  Actor(const ActorContext& context, int index);
  virtual ~Actor() = default;
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;

  const std::string& name() const { return def_.name(); }
  const ActorDef& def() const { return def_; }
  // Before the first launch; the executor owns the stream.
  void set_stream(Stream* stream) { stream_ = stream; }
  // Where firings are timed from the next launch on; null: nowhere. While no firing is under way.
  void set_times(FiringTimes* times);

  // Whether every input has a full slot and every output a free one.
  bool Ready() const;
  // Makes the stream wait for the slots' events, launches one firing, and sends full and free to
  // its neighbours at once. Never waits. Only when Ready.
  void Launch();
  // Firings launched so far.
  int64_t launched() const { return launched_; }

  // Most tasks that one firing enqueues, waits not counted.
  virtual int tasks() const { return 1; }
  // About how many calls of the device the tasks of firing number `firing` make, marks aside.
  virtual int64_t calls(int64_t firing) const {
    (void)firing;
    return tasks();
  }
  // Marks that the next firing sets.
  int64_t marks() const { return Timed(launched_) ? marks_in_firing_ : 0; }
  // Firings after which none asks the device for what it has not done before: on one with a queue,
  // kernels and recordings have all been run once.
  virtual int64_t settling_firings() const { return 1; }
  // What is timed of a firing: for most kinds all of it, between two points that the base marks. A
  // kind that marks points within its firings says so.
  virtual TimedActor timed() const { return {.runs = {1}, .firings = def_.firings_per_step()}; }
  virtual bool marks_within() const { return false; }
  // Shows all kernel calls that firings will make, with the operands of each; makes none. While no
  // firing is under way. Errors: the visitor's.
  virtual absl::Status VisitCalls(const KernelVisitor&) { return absl::OkStatus(); }
  // What the running firing waits for outside this rank ("from rank 3"), if the kind knows; empty
  // otherwise. Any thread.
  virtual std::string Waiting() const { return ""; }
  // The other ranks without which that cannot end; empty if the kind knows of none. Any thread.
  virtual std::vector<int> WaitingFor() const { return {}; }

 protected:
  // Enqueues the work of firing number `firing` on stream(). A kind that is done with a port before
  // the end of the firing marks it `early` at creation, and here calls Send.
  virtual void Fire(int64_t firing) = 0;

  // A channel as this actor holds it.
  struct Port {
    Channel* channel = nullptr;
    int consumer = -1;  // -1: this actor is the producer
    bool early = false;
  };
  // The port of channel `id` of the plan; nullptr if the actor has none.
  Port* FindPort(int id, bool output);
  // Sends full or free for `port`, with an event behind what has been enqueued so far.
  void Send(const Port& port) {
    if (port.consumer < 0) {
      port.channel->Write(stream_->Record());
    } else {
      port.channel->Read(port.consumer, stream_->Record());
    }
  }

  Stream& stream() { return *stream_; }
  bool failed() const { return failure_.failed(); }
  // Poisons the rank: "actor `name`, op `op`, step 4: cause" (`op` may be empty) for a firing of
  // the step numbered 3.
  void Fail(std::string_view op, int64_t firing, const absl::Status& cause);
  // A kind that sends counts what a firing has sent to other ranks; once per byte, in its tasks.
  void CountSent(int64_t firing, int64_t bytes) {
    steps_.bytes_sent[SlotOf(firing)].fetch_add(bytes, std::memory_order_relaxed);
  }
  // Marks a point of a firing of a timed step, in a task of it (FiringTimes::Mark).
  bool Timed(int64_t firing) const { return times_ != nullptr && times_->Covers(StepOf(firing)); }
  void Mark(int64_t firing, int point) {
    times_->Mark(index_, StepOf(firing), MicrobatchOf(firing), point, stream_->native_stream());
  }
  // The number of the step to which a firing belongs, and its place in it.
  int64_t StepOf(int64_t firing) const { return steps_.number[SlotOf(firing)]; }
  int64_t MicrobatchOf(int64_t firing) const { return firing % def_.firings_per_step(); }

 private:
  static void MarkBegin(void* actor, int64_t firing) {
    static_cast<Actor*>(actor)->Mark(firing, 0);
  }
  static void MarkEnd(void* actor, int64_t firing) { static_cast<Actor*>(actor)->Mark(firing, 1); }
  // Of the firing's step in StepsInFlight.
  size_t SlotOf(int64_t firing) const {
    return static_cast<size_t>(firing / def_.firings_per_step() % StepsInFlight::kInFlight);
  }

  const ActorDef& def_;
  const int index_;
  Failure& failure_;
  StepsInFlight& steps_;
  const std::string& step_word_;
  Stream* stream_ = nullptr;
  FiringTimes* times_ = nullptr;
  int64_t marks_in_firing_ = 0;
  std::vector<Port> inputs_;
  std::vector<Port> outputs_;
  int64_t launched_ = 0;
};

}  // namespace weft
