#include "actors/slot_operand.h"

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

// The index of `actor` among the channel's consumers, or -1.
int ConsumerOf(const ChannelDef& channel, int actor) {
  for (int i = 0; i < channel.consumers_size(); ++i) {
    if (channel.consumers(i).actor() == actor) return i;
  }
  return -1;
}

}  // namespace

absl::StatusOr<SlotOperand> SlotOperand::Resolve(const Plan& plan,
                                                 const std::vector<Buffer>& buffers, int actor,
                                                 const OperandDef& def, bool is_output) {
  SlotOperand operand;
  if (def.buffer() == -1) return operand;
  if (def.buffer() < 0 || def.buffer() >= static_cast<int>(buffers.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("buffer ", def.buffer(), " of ", buffers.size()));
  }
  operand.buffer_ = &buffers[def.buffer()];
  operand.channel_ = def.channel();
  if (def.channel() == -1) return operand;
  if (def.channel() < 0 || def.channel() >= plan.channels_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("channel ", def.channel(), " of ", plan.channels_size()));
  }
  const ChannelDef& channel = plan.channels(def.channel());
  const bool writes = channel.producer() == actor;
  const int reader = ConsumerOf(channel, actor);
  if (!writes && reader < 0) {
    return absl::InvalidArgumentError(absl::StrCat("buffer `", operand.buffer_->name,
                                                   "` of channel `", channel.name(),
                                                   "`, which the actor neither reads nor writes"));
  }
  if (static_cast<int>(operand.buffer_->slots.size()) != channel.slots()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "buffer `", operand.buffer_->name, "` has ", operand.buffer_->slots.size(),
        " addresses for the ", channel.slots(), " slots of channel `", channel.name(), "`"));
  }
  operand.slots_ = channel.slots();
  if (writes && (is_output || reader < 0)) {
    operand.initial_ = channel.initial();
    operand.rate_ = channel.writes_per_slot();
  } else {
    operand.rate_ = channel.consumers(reader).reads_per_slot();
  }
  return operand;
}

Operand SlotOperand::operand() const {
  if (absent()) return {};
  return {.data = data(0), .logical = &buffer_->logical, .box = &buffer_->box,
          .shape = buffer_->shape};
}

}  // namespace weft
