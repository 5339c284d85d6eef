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
#include "runtime/box_copy.h"
#include "runtime/monoid.h"
#include "runtime/transport.h"

namespace weft {

// One message per piece, all with one tag, in the order listed on both sides. A piece that is one
// run of the tensor's memory travels from or to where it lies, others through a staging area
// allocated at creation. Receives and sends are posted together; what arrived is then put in place
// in the order listed, so that sums have the same bits in every run.
class ExchangeActor final : public Actor {
 public:
  // InvalidArgument for pieces outside this rank's boxes, bad peers, tags or monoids.
  static absl::StatusOr<std::unique_ptr<Actor>> Create(const ActorContext& context, int index);

  int tasks() const override { return 2; }
  std::string Waiting() const override;
  std::vector<int> WaitingFor() const override;

  // Messages of the exchange with plan tag t carry this transport tag; communicators use the odd
  // ones.
  static constexpr uint32_t TagOf(int tag) { return 2 * static_cast<uint32_t>(tag); }

 private:
  struct Piece {
    int peer = 0;
    BoxCopy copy;  // send: input -> staging; receive: staging -> output; self: input -> output
    std::byte* staging = nullptr;  // nullptr: straight from the input or to the output
    bool combines = false;         // joins what earlier pieces left there; else overwrites
  };

  ExchangeActor(const ActorContext& context, int index)
      : Actor(context, index),
        transport_(context.transport),
        rank_(context.plan.rank()),
        world_size_(context.plan.world_size()) {}
  absl::Status CheckPeer(int peer) const;
  // Whether anything goes to or comes from another rank.
  bool Travels() const;
  absl::Status AddSends(const ExchangeDef& def);
  absl::Status AddReceives(const ExchangeDef& def);
  void AllocateStaging();
  void Fire(int64_t firing) override;
  static void Post(void* actor, int64_t firing);
  static void Finish(void* actor, int64_t firing);
  static bool Arrived(void* actor, int64_t firing);

  // What the running firing still waits for; nullptr if nothing. Any thread.
  const Piece* FirstMissing() const;

  Transport* const transport_;
  const int rank_;
  const int world_size_;
  uint32_t tag_ = 0;
  Monoid monoid_ = Monoid::kSum;
  bool fills_ = false;  // the output starts as the identity
  SlotOperand input_;
  SlotOperand output_;
  std::vector<Piece> sends_;     // to others
  std::vector<Piece> receives_;  // self included
  std::unique_ptr<Request[]> send_requests_;
  std::unique_ptr<Request[]> receive_requests_;
  std::unique_ptr<std::byte[]> staging_;
  std::atomic<bool> posted_{false};  // the requests belong to the running firing
};

}  // namespace weft
