// AllReduceActor: all ranks of a group end with the combination of all inputs.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/types/span.h"
#include "actors/actor.h"
#include "actors/slot_operand.h"
#include "runtime/monoid.h"

namespace weft {

class AllReduceActor final : public Actor {
 public:
  // InvalidArgument for operands of different boxes or dtypes, a monoid that does not fit them, or
  // too little workspace.
  static absl::StatusOr<std::unique_ptr<Actor>> Create(const ActorContext& context, int index);

  std::string Waiting() const override;
  std::vector<int> WaitingFor() const override;

 private:
  using Actor::Actor;
  void Fire(int64_t firing) override;
  static void Run(void* actor, int64_t firing);

  Communicator* communicator_ = nullptr;  // of the executor
  SlotOperand input_;
  SlotOperand output_;
  Monoid monoid_ = Monoid::kSum;
  absl::Span<std::byte> workspace_;  // of the arena
};

}  // namespace weft
