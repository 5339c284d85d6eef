// StagedHostActor: where data enters and leaves a device with memory of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "actors/actor.h"
#include "actors/call_gate.h"
#include "actors/slot_operand.h"
#include "runtime/arena.h"

namespace weft {

// As HostActor, through staging memory: the host's function runs on a thread of the device's,
// between copies that the device makes in the order of the stream. One piece of staging memory is
// enough, for the stream uses it for one firing after the other. A device that has failed counts as
// done while the host's function may still run: the actor goes when that has returned.
class StagedHostActor final : public Actor {
 public:
  // FailedPrecondition if the executor was given no function for it; ResourceExhausted where there
  // is no memory for staging.
  static absl::StatusOr<std::unique_ptr<Actor>> CreateFeed(const ActorContext& context, int index);
  static absl::StatusOr<std::unique_ptr<Actor>> CreateFetch(const ActorContext& context, int index);

 private:
  StagedHostActor(const ActorContext& context, int index, const HostFunction& function,
                  std::string_view value, SlotOperand slot, bool feeds)
      : Actor(context, index),
        queue_(*context.device.queue()),
        function_(function),
        value_(value),
        slot_(slot),
        feeds_(feeds),
        operand_(slot.operand()),
        gate_(CallGate::Make(&CallHost, this)) {}
  static absl::StatusOr<std::unique_ptr<Actor>> Create(const ActorContext& context, int index,
                                                       const HostFunction& function,
                                                       std::string_view value,
                                                       const OperandDef& operand, bool feeds);
  void Fire(int64_t firing) override;
  static void Run(void* actor, int64_t firing);
  absl::Status EnqueueFiring(int64_t firing);
  absl::Status EnqueueCall(void* native_stream);
  // On the device's thread, once for every firing launched.
  static void CallHost(void* actor);

  DeviceQueue& queue_;
  const HostFunction& function_;
  const std::string_view value_;  // the plan's
  const SlotOperand slot_;
  const bool feeds_;
  Operand operand_;  // in staging memory
  Arena staging_;
  int64_t called_ = 0;    // of the device's thread
  CallGate::Owner gate_;  // destroyed first: calls use all above
};

}  // namespace weft
