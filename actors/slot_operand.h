// SlotOperand: which memory an operand of an actor is at each of its firings. Rates are fixed, so
// the slot is a function of the firing's number alone: whoever runs a firing late, on a stream's
// worker, needs nothing from the actor thread.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "actors/buffers.h"
#include "runtime/kernel.h"
#include "runtime/plan.pb.h"

namespace weft {

class SlotOperand {
 public:
  // Absent: data is nullptr at every firing.
  SlotOperand() = default;
  // InvalidArgument unless the buffer exists, the actor reads or writes the channel, and the buffer
  // has a slot for each of the channel's. An output operand on a channel that the actor only reads
  // is written in place.
  static absl::StatusOr<SlotOperand> Resolve(const Plan& plan, const std::vector<Buffer>& buffers,
                                             int actor, const OperandDef& def, bool is_output);

  bool absent() const { return buffer_ == nullptr; }
  // Only if not absent.
  const Buffer& buffer() const { return *buffer_; }
  // -1: none.
  int channel() const { return channel_; }
  void* data(int64_t firing) const {
    if (buffer_ == nullptr) return nullptr;
    if (slots_ == 1) return buffer_->slots[0];
    return buffer_->slots[(initial_ + firing / rate_) % slots_];
  }
  // Whether the firing is the first of those that share its slot.
  bool first_of_slot(int64_t firing) const { return firing % rate_ == 0; }
  // Whether data() differs between firings.
  bool moves() const { return slots_ > 1; }
  // After so many firings data() and first_of_slot() begin anew.
  int64_t period() const { return slots_ * rate_; }
  // The operand at firing 0.
  Operand operand() const;

 private:
  const Buffer* buffer_ = nullptr;
  int channel_ = -1;
  int64_t initial_ = 0;
  int64_t rate_ = 1;
  int64_t slots_ = 1;
};

}  // namespace weft
