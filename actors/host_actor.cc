#include "actors/host_actor.h"

#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {

absl::StatusOr<std::unique_ptr<Actor>> HostActor::Create(const ActorContext& context, int index,
                                                         const HostFunction& function,
                                                         std::string_view value,
                                                         const OperandDef& operand, bool feeds) {
  if (!function) {
    return absl::FailedPreconditionError(absl::StrCat(
        "nothing was given to ", feeds ? "feed" : "fetch", " `", std::string(value), "`"));
  }
  WEFT_ASSIGN_OR_RETURN(SlotOperand slot,
                        SlotOperand::Resolve(context.plan, context.buffers, index, operand, feeds));
  if (slot.absent())
    return absl::InvalidArgumentError(absl::StrCat("no buffer for `", std::string(value), "`"));
  return std::unique_ptr<Actor>(new HostActor(context, index, function, value, slot));
}

absl::StatusOr<std::unique_ptr<Actor>> HostActor::CreateFeed(const ActorContext& context,
                                                             int index) {
  const FeedDef& def = context.plan.actors(index).feed();
  return Create(context, index, context.feed, def.name(), def.output(), /*feeds=*/true);
}

absl::StatusOr<std::unique_ptr<Actor>> HostActor::CreateFetch(const ActorContext& context,
                                                              int index) {
  const FetchDef& def = context.plan.actors(index).fetch();
  return Create(context, index, context.fetch, def.name(), def.input(), /*feeds=*/false);
}

void HostActor::Fire(int64_t firing) {
  stream().Enqueue({.run = &Run, .context = this, .argument = firing});
}

void HostActor::Run(void* context, int64_t firing) {
  HostActor& actor = *static_cast<HostActor*>(context);
  if (actor.failed()) return;
  actor.operand_.data = actor.slot_.data(firing);
  const absl::Status status = actor.function_(actor.value_, actor.StepOf(firing),
                                              actor.MicrobatchOf(firing), actor.operand_);
  if (!status.ok()) actor.Fail(actor.value_, firing, status);
}

}  // namespace weft
