// DeviceExchangeActor: the general conversion between layouts on a device with memory of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "actors/actor.h"
#include "actors/slot_operand.h"
#include "runtime/exchange_pieces.h"
#include "runtime/monoid.h"

namespace weft {

// As ExchangeActor, as work on the native stream: pieces are packed, all messages travel as one,
// and what arrived is put in place in the order listed.
class DeviceExchangeActor final : public Actor {
 public:
  // Errors as for ExchangeActor; also the device's own.
  static absl::StatusOr<std::unique_ptr<Actor>> Create(const ActorContext& context, int index);

  int64_t calls(int64_t firing) const override;

 private:
  DeviceExchangeActor(const ActorContext& context, int index)
      : Actor(context, index),
        queue_(*context.device.queue()),
        messenger_(context.messenger),
        rank_(context.plan.rank()) {}
  void Fire(int64_t firing) override;
  static void Run(void* actor, int64_t firing);
  absl::Status EnqueueFiring(int64_t firing);
  // Tells the messenger what travels.
  void AddExchange(int tag);
  // Where a piece travels from or to: staging, or `offset` bytes into the operand of each firing.
  DeviceMessenger::Message MessageOf(const ExchangePieces::Piece& piece, const SlotOperand& operand,
                                     int64_t offset) const;

  DeviceQueue& queue_;
  DeviceMessenger* const messenger_;
  const int rank_;
  Monoid monoid_ = Monoid::kSum;
  SlotOperand input_;
  SlotOperand output_;
  ExchangePieces pieces_;
  std::byte* workspace_ = nullptr;           // of the arena
  std::unique_ptr<DeviceBoxCopies> copies_;  // of pieces_.sends, then of pieces_.receives
  int exchange_ = -1;       // number of the messenger's; -1: nothing travels
  int64_t bytes_sent_ = 0;  // at each firing
};

}  // namespace weft
