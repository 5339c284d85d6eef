// Executor: runs one rank's plan. The thread that calls it is the rank's actor thread: it fires
// actors in the order of each stream's list, and runs ahead of the streams by two steps at most.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actors/actor.h"
#include "actors/firing_times.h"
#include "actors/launch_bound.h"
#include "runtime/arena.h"
#include "runtime/cpu_device.h"
#include "runtime/device.h"
#include "runtime/kernel.h"
#include "runtime/plan.pb.h"
#include "runtime/stream.h"
#include "runtime/transport.h"

namespace weft {

class StallReport;

// What a plan needs from outside; functions and what they refer to outlive the executor.
struct ExecutorOptions {
  // The device's kernels by name.
  const KernelTable& kernels;
  // Where the plan runs; null: the CPU.
  Device* device = nullptr;
  // May be null if the plan sends nothing. The first failure of the rank poisons it.
  Transport* transport = nullptr;
  // Memory of the variables that the plan names.
  VariableLookup variables;
  // Host data in and out; needed if the plan has such actors.
  HostFunction feed;
  HostFunction fetch;
  // How long no stream may complete anything before the rank fails with DeadlineExceeded and the
  // stall report; 0: forever. Longer than the longest kernel. Ranks that stall together report
  // together with a StallWatch instead (actors/stall_watch.h).
  std::chrono::nanoseconds deadline{0};
  // Which kernels are recorded and replayed, where the device can.
  Recording recording = Recording::kAuto;
  // What errors call a step: "step 4" is the one numbered 3.
  std::string step_word = "step";
  // Gets the stall report when one was asked for; on the actor thread.
  std::function<void(const StallReport&)> on_report;
  // Makes a stream that holds `capacity` entries; by default the device does.
  std::function<std::unique_ptr<Stream>(const std::string& name, int64_t capacity)> make_stream;
};

// Launch, Wait, RunSteps and Run belong to one thread at a time. Cancel, RequestReport and progress
// to any.
class Executor {
 public:
  // Checks the plan fully (CheckPlan, then operands, memory and kernels) and allocates all that it
  // will ever need. Errors name actor and op.
  static absl::StatusOr<std::unique_ptr<Executor>> Create(Plan plan, ExecutorOptions options);
  // Finishes what was launched.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Launches one step; blocks while two are in flight. `step` is what feed and fetch are told.
  // Answers the first failure so far, of this rank or another; then nothing more is launched.
  absl::Status Launch(int64_t step);
  // Blocks until launch number `launch` (from 0; below launched()) has ended, others may go on. Its
  // results have been fetched then. Errors as for Wait.
  absl::Status Await(int64_t launch);
  // Blocks until all that was launched has ended. The first failure: "rank N failed: actor `a`, op
  // `o`, step s: cause", the same on all ranks. After a failure variables hold whatever was written
  // so far.
  absl::Status Wait();
  // Launches steps first_step, first_step + 1, ... and waits.
  absl::Status RunSteps(int64_t first_step, int64_t count);
  absl::Status Run(int64_t step) { return RunSteps(step, 1); }

  // Shows all kernel calls that steps will make, with the operands of each; makes none. No step is
  // in flight. Errors: the visitor's, naming actor and op.
  absl::Status VisitCalls(const KernelVisitor& visit);

  // Times the firings of steps [first, first + count), by the numbers given to Launch, when they
  // are launched from here on. No step is in flight. Takes all memory that it needs; errors: the
  // device's.
  absl::Status TimeSteps(int64_t first, int64_t count);
  // What was timed of steps that have ended; nothing without TimeSteps.
  absl::StatusOr<std::vector<FiringTime>> ReadTimes() const;

  // Fails the rank, and with it all ranks, with Cancelled. Returns at once.
  void Cancel();
  // Has the actor thread hand the stall report to options.on_report when it next waits. May be
  // called by a signal handler.
  void RequestReport() { report_requested_.store(true, std::memory_order_relaxed); }
  // What every stream and actor of this rank is doing, for people. Only on the actor thread.
  std::string Report() const;

  const Plan& plan() const { return plan_; }
  // Stream entries completed so far: a number that stands still while the rank is stuck.
  int64_t progress() const;
  // Steps launched, and of these how many have ended on all streams.
  int64_t launched() const { return launched_; }
  int64_t ended() const;
  // Payload bytes that launch number `launch` has sent to other ranks: known once it has ended, and
  // until the fourth launch after it.
  int64_t bytes_sent(int64_t launch) const {
    return steps_.bytes_sent[launch % StepsInFlight::kInFlight].load(std::memory_order_relaxed);
  }

  // Most steps in flight.
  static constexpr int kStepsAhead = 2;

 private:
  friend class StallReport;

  // A stream, its list, and where in it each firing of the steps in flight ends.
  struct Lane {
    std::unique_ptr<Stream> stream;
    std::vector<Actor*> order;
    size_t next = 0;            // in the list, of the step under launch
    std::vector<int64_t> ends;  // per step in flight and list entry: stream position
    LaunchBound bound;
    int64_t seen = -1;                            // completed position at the last look
    std::chrono::steady_clock::time_point since;  // of the last progress seen
  };

  Executor(Plan plan, ExecutorOptions options);
  absl::Status Build();
  absl::StatusOr<Communicator*> CommunicatorOf(const AllReduceDef& def);
  int64_t EndOf(const Lane& lane, int64_t launch, size_t entry) const {
    return lane.ends[launch % (kStepsAhead + 1) * lane.order.size() + entry];
  }
  // Whether the lane's stream has as much before it as it may, its next firing counted; and waiting
  // until the head of some lane that is ready may go. A failure answers its status once waiting is
  // useless.
  bool IsFull(Lane& lane);
  // Calls of the device that launching the actor's next firing takes.
  int64_t CallsOf(const Actor& actor) const;
  absl::Status AwaitRoom();
  // Whether nothing is launched until the actor's firing has ended; and waiting for all that the
  // lane has launched.
  bool IsOneByOne(const Actor& actor) const;
  absl::Status AwaitAll(const Lane& lane);
  // Hands out the stall report if one was asked for.
  void ServeReport();
  // One look at progress, deadline and requests while waiting. False once waiting is useless.
  bool Watch();
  // Fails the rank if the device has failed, naming the firing that was under way.
  void ReportBreakdown();

  const Plan plan_;
  const ExecutorOptions options_;
  CpuDevice cpu_;
  Device& device_;
  Failure failure_;
  Arena arena_;
  std::vector<Buffer> buffers_;
  StepsInFlight steps_;
  std::vector<std::unique_ptr<Channel>> channels_;
  std::map<int, std::unique_ptr<Communicator>> communicators_;  // by AllReduceDef.communicator
  std::unique_ptr<DeviceMessenger> messenger_;  // of a device with memory of its own
  std::unique_ptr<FiringTimes> times_;          // null: nothing is timed
  std::vector<std::unique_ptr<Actor>> actors_;
  std::vector<Lane> lanes_;  // destroyed first: their workers use all above
  int64_t launched_ = 0;
  int64_t steps_one_by_one_ = 0;
  std::atomic<bool> report_requested_{false};
};

}  // namespace weft
