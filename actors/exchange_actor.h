// ExchangeActor: the general conversion between layouts. Every rank sends boxes of what it holds
// and assembles its own box from what arrives.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "actors/actor.h"
#include "actors/slot_operand.h"
#include "runtime/exchange_pieces.h"
#include "runtime/monoid.h"
#include "runtime/transport.h"

namespace weft {

// One message per piece, all with one tag, in the order listed on both sides. A piece that is one
// run of the tensor's memory travels from or to where it lies, others through the workspace that
// the plan has for it. Receives and sends are posted together; what arrived is then put in place in
// the order listed, so that sums have the same bits in every run.
class ExchangeActor final : public Actor {
 public:
  // InvalidArgument for pieces outside this rank's boxes, bad peers, tags or monoids, or too little
  // workspace.
  static absl::StatusOr<std::unique_ptr<Actor>> Create(const ActorContext& context, int index);

  int tasks() const override { return 2; }
  std::string Waiting() const override;
  std::vector<int> WaitingFor() const override;

  // Messages of the exchange with plan tag t carry this transport tag; communicators use the odd
  // ones.
  static constexpr uint32_t TagOf(int tag) { return 2 * static_cast<uint32_t>(tag); }

 private:
  ExchangeActor(const ActorContext& context, int index)
      : Actor(context, index), transport_(context.transport), rank_(context.plan.rank()) {}
  void Fire(int64_t firing) override;
  static void Post(void* actor, int64_t firing);
  static void Finish(void* actor, int64_t firing);
  static bool Arrived(void* actor, int64_t firing);

  // What the running firing still waits for; nullptr if nothing. Any thread.
  const ExchangePieces::Piece* FirstMissing() const;

  Transport* const transport_;
  const int rank_;
  uint32_t tag_ = 0;
  Monoid monoid_ = Monoid::kSum;
  SlotOperand input_;
  SlotOperand output_;
  ExchangePieces pieces_;
  std::byte* workspace_ = nullptr;  // of the arena
  std::unique_ptr<Request[]> send_requests_;
  std::unique_ptr<Request[]> receive_requests_;
  std::atomic<bool> posted_{false};  // the requests belong to the running firing
};

}  // namespace weft
