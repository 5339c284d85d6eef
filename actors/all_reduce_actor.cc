#include "actors/all_reduce_actor.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "actors/workspace.h"
#include "runtime/collective_bytes.h"
#include "runtime/reduce.h"
#include "runtime/status.h"

namespace weft {

absl::StatusOr<std::unique_ptr<Actor>> AllReduceActor::Create(const ActorContext& context,
                                                              int index) {
  const AllReduceDef& def = context.plan.actors(index).all_reduce();
  auto actor = std::unique_ptr<AllReduceActor>(new AllReduceActor(context, index));
  WEFT_ASSIGN_OR_RETURN(actor->input_, SlotOperand::Resolve(context.plan, context.buffers, index,
                                                            def.input(), /*is_output=*/false));
  WEFT_ASSIGN_OR_RETURN(actor->output_, SlotOperand::Resolve(context.plan, context.buffers, index,
                                                             def.output(), /*is_output=*/true));
  if (actor->input_.absent() || actor->output_.absent()) {
    return absl::InvalidArgumentError("an operand is absent");
  }
  const Buffer& input = actor->input_.buffer();
  const Buffer& output = actor->output_.buffer();
  if (input.logical.dtype != output.logical.dtype || input.shape != output.shape) {
    return absl::InvalidArgumentError(absl::StrCat("from `", input.name, "` ",
                                                   ToString(input.shape), " to `", output.name,
                                                   "` ", ToString(output.shape)));
  }
  if (def.monoid() < 0 || def.monoid() > static_cast<int>(Monoid::kLogAddExp)) {
    return absl::InvalidArgumentError(absl::StrCat("monoid ", def.monoid()));
  }
  actor->monoid_ = static_cast<Monoid>(def.monoid());
  WEFT_RETURN_IF_ERROR(CheckReducible(input.logical.dtype, actor->monoid_));
  WEFT_ASSIGN_OR_RETURN(actor->communicator_, context.communicator(def));
  const Communicator& group = *actor->communicator_;
  WEFT_ASSIGN_OR_RETURN(
      std::byte* const workspace,
      WorkspaceAt(context.arena, def.workspace_offset(), def.workspace_bytes(),
                  AllReduceWorkspaceBytes(group.rank(), group.size(), NumElements(input.shape),
                                          input.logical.dtype)));
  actor->workspace_ = absl::MakeSpan(workspace, def.workspace_bytes());
  WEFT_RETURN_IF_ERROR(
      actor->communicator_->Reserve(NumElements(input.shape), input.logical.dtype, actor->monoid_));
  return actor;
}

void AllReduceActor::Fire(int64_t firing) {
  stream().Enqueue({.run = &Run, .context = this, .argument = firing});
}

void AllReduceActor::Run(void* context, int64_t firing) {
  AllReduceActor& actor = *static_cast<AllReduceActor*>(context);
  if (actor.failed()) return;
  const Buffer& buffer = actor.input_.buffer();
  const int64_t sent = actor.communicator_->bytes_sent();
  actor.communicator_->LendWorkspace(actor.workspace_);
  actor.communicator_->RunOn(actor.stream().native_stream());
  const absl::Status status = actor.communicator_->AllReduce(
      actor.input_.data(firing), actor.output_.data(firing), NumElements(buffer.shape),
      buffer.logical.dtype, actor.monoid_);
  actor.CountSent(firing, actor.communicator_->bytes_sent() - sent);
  if (!status.ok()) actor.Fail("all_reduce", firing, status);
}

std::string AllReduceActor::Waiting() const {
  return absl::StrCat("all-reduce with ranks ", absl::StrJoin(communicator_->world_ranks(), ","));
}

std::vector<int> AllReduceActor::WaitingFor() const {
  std::vector<int> others;
  for (int member = 0; member < communicator_->size(); ++member) {
    if (member != communicator_->rank()) others.push_back(communicator_->world_ranks()[member]);
  }
  return others;
}

}  // namespace weft
