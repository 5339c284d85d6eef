#include "actors/staged_host_actor.h"

#include "absl/strings/str_cat.h"
#include "runtime/status.h"

namespace weft {

absl::StatusOr<std::unique_ptr<Actor>> StagedHostActor::Create(
    const ActorContext& context, int index, const HostFunction& function, std::string_view value,
    const OperandDef& operand, bool feeds) {
  if (!function) {
    return absl::FailedPreconditionError(absl::StrCat(
        "nothing was given to ", feeds ? "feed" : "fetch", " `", std::string(value), "`"));
  }
  WEFT_ASSIGN_OR_RETURN(SlotOperand slot,
                        SlotOperand::Resolve(context.plan, context.buffers, index, operand, feeds));
  if (slot.absent())
    return absl::InvalidArgumentError(absl::StrCat("no buffer for `", std::string(value), "`"));
  auto actor = std::unique_ptr<StagedHostActor>(
      new StagedHostActor(context, index, function, value, slot, feeds));
  const Operand& staged = actor->operand_;
  WEFT_ASSIGN_OR_RETURN(actor->staging_,
                        context.device.AllocateStaging(staged.elements() * SizeOf(staged.dtype())));
  actor->operand_.data = actor->staging_.data();
  return actor;
}

absl::StatusOr<std::unique_ptr<Actor>> StagedHostActor::CreateFeed(const ActorContext& context,
                                                                   int index) {
  const FeedDef& def = context.plan.actors(index).feed();
  return Create(context, index, context.feed, def.name(), def.output(), /*feeds=*/true);
}

absl::StatusOr<std::unique_ptr<Actor>> StagedHostActor::CreateFetch(const ActorContext& context,
                                                                    int index) {
  const FetchDef& def = context.plan.actors(index).fetch();
  return Create(context, index, context.fetch, def.name(), def.input(), /*feeds=*/false);
}

void StagedHostActor::Fire(int64_t firing) {
  stream().Enqueue({.run = &Run, .context = this, .argument = firing});
}

void StagedHostActor::Run(void* context, int64_t firing) {
  StagedHostActor& actor = *static_cast<StagedHostActor*>(context);
  if (actor.failed()) return;
  const absl::Status status = actor.EnqueueFiring(firing);
  if (!status.ok()) actor.Fail(actor.value_, firing, status);
}

absl::Status StagedHostActor::EnqueueFiring(int64_t firing) {
  void* const native = stream().native_stream();
  void* const device = slot_.data(firing);
  if (feeds_) {
    WEFT_RETURN_IF_ERROR(EnqueueCall(native));
    return queue_.CopyIn(device, staging_.data(), staging_.bytes(), native);
  }
  WEFT_RETURN_IF_ERROR(queue_.CopyOut(staging_.data(), device, staging_.bytes(), native));
  return EnqueueCall(native);
}

absl::Status StagedHostActor::EnqueueCall(void* native_stream) {
  gate_->Announce();
  const absl::Status status = queue_.CallHost(&CallGate::Enter, gate_.get(), native_stream);
  if (!status.ok()) gate_->Withdraw();
  return status;
}

void StagedHostActor::CallHost(void* context) {
  StagedHostActor& actor = *static_cast<StagedHostActor*>(context);
  const int64_t firing = actor.called_++;
  if (actor.failed()) return;
  const absl::Status status = actor.function_(actor.value_, actor.StepOf(firing),
                                              actor.MicrobatchOf(firing), actor.operand_);
  if (!status.ok()) actor.Fail(actor.value_, firing, status);
}

}  // namespace weft
