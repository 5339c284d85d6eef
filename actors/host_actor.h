// HostActor: where data enters from the host (feed) and leaves to it (fetch).
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "actors/actor.h"
#include "actors/slot_operand.h"

namespace weft {

// Calls the host's function with this rank's box of an input or a result, once per firing.
class HostActor final : public Actor {
 public:
  // FailedPrecondition if the executor was given no function for it.
  static absl::StatusOr<std::unique_ptr<Actor>> CreateFeed(const ActorContext& context, int index);
  static absl::StatusOr<std::unique_ptr<Actor>> CreateFetch(const ActorContext& context, int index);

 private:
  HostActor(const ActorContext& context, int index, const HostFunction& function,
            std::string_view value, SlotOperand slot)
      : Actor(context, index), function_(function), value_(value), slot_(slot),
        operand_(slot.operand()) {}
  static absl::StatusOr<std::unique_ptr<Actor>> Create(const ActorContext& context, int index,
                                                       const HostFunction& function,
                                                       std::string_view value,
                                                       const OperandDef& operand, bool feeds);
  void Fire(int64_t firing) override;
  static void Run(void* actor, int64_t firing);

  const HostFunction& function_;
  const std::string_view value_;  // the plan's
  const SlotOperand slot_;
  Operand operand_;
};

}  // namespace weft
