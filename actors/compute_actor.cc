#include "actors/compute_actor.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/attr.pb.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Whether an actor of another stream sees the messages of `channel` that `actor` sends as `output`.
bool LeavesStream(const Plan& plan, int actor, int channel, bool output) {
  const ChannelDef& def = plan.channels(channel);
  const int stream = plan.actors(actor).stream();
  if (!output) return plan.actors(def.producer()).stream() != stream;
  for (const ConsumerDef& consumer : def.consumers()) {
    if (plan.actors(consumer.actor()).stream() != stream) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Actor>> ComputeActor::Create(const ActorContext& context,
                                                            int index) {
  auto actor = std::unique_ptr<ComputeActor>(new ComputeActor(context, index));
  for (const KernelCallDef& def : context.plan.actors(index).compute().calls()) {
    WEFT_RETURN_IF_ERROR(Annotate(actor->AddCall(context, index, def),
                                  absl::StrCat("op `", def.name(), "` (", def.kernel(), ")")));
  }
  actor->CutIntoParts(context, index);
  return actor;
}

absl::Status ComputeActor::AddCall(const ActorContext& context, int index,
                                   const KernelCallDef& def) {
  auto call = std::make_unique<Call>();
  call->op = def.name();
  call->kernel = context.kernels.Find(def.kernel());
  if (call->kernel == nullptr) {
    return absl::NotFoundError(absl::StrCat("this device has no kernel `", def.kernel(), "`"));
  }
  for (const auto& [name, value] : def.attrs()) {
    WEFT_ASSIGN_OR_RETURN(Attr attr, FromProto(value));
    call->attrs.Set(name, std::move(attr));
  }
  for (const OperandDef& operand : def.inputs()) {
    WEFT_ASSIGN_OR_RETURN(
        SlotOperand slot,
        SlotOperand::Resolve(context.plan, context.buffers, index, operand, /*is_output=*/false));
    call->inputs.push_back(slot.operand());
    call->input_slots.push_back(slot);
  }
  for (const OperandDef& operand : def.outputs()) {
    WEFT_ASSIGN_OR_RETURN(
        SlotOperand slot,
        SlotOperand::Resolve(context.plan, context.buffers, index, operand, /*is_output=*/true));
    call->outputs.push_back(slot.operand());
    call->output_slots.push_back(slot);
  }
  call->adds = std::make_unique<bool[]>(def.outputs_size());
  for (int output : def.accumulate()) {
    if (output < 0 || output >= def.outputs_size() || def.outputs(output).channel() < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("accumulates output ", output, ", which is on no channel"));
    }
    call->accumulating.push_back(output);
  }
  const int64_t bytes = def.workspace_bytes();
  const int64_t offset = def.workspace_offset();
  if (bytes < 0 || offset < 0 || offset > context.arena.bytes() ||
      bytes > context.arena.bytes() - offset) {
    return absl::InvalidArgumentError(absl::StrCat("a workspace of ", bytes, " bytes at ", offset,
                                                   " exceeds the arena of ",
                                                   context.arena.bytes()));
  }
  call->arguments = {.inputs = call->inputs,
                     .outputs = call->outputs,
                     .attrs = &call->attrs,
                     .workspace = bytes == 0 ? nullptr : context.arena.data() + offset,
                     .workspace_bytes = bytes,
                     .accumulate = {}};
  if (!call->accumulating.empty()) {
    call->arguments.accumulate = absl::MakeConstSpan(call->adds.get(), call->outputs.size());
  }
  calls_.push_back(std::move(call));
  return absl::OkStatus();
}

void ComputeActor::CutIntoParts(const ActorContext& context, int index) {
  // Call after which a port is done with, for those that another stream watches.
  std::map<Port*, size_t> last;
  const auto see = [&](const SlotOperand& operand, bool output, size_t call) {
    if (operand.channel() < 0 || !LeavesStream(context.plan, index, operand.channel(), output)) {
      return;
    }
    if (Port* port = FindPort(operand.channel(), output)) last[port] = call;
  };
  for (size_t i = 0; i < calls_.size(); ++i) {
    for (const SlotOperand& operand : calls_[i]->input_slots) see(operand, false, i);
    for (const SlotOperand& operand : calls_[i]->output_slots) {
      see(operand, true, i);
      see(operand, false, i);  // in place
    }
  }
  std::map<size_t, std::vector<const Port*>> cuts;
  for (auto& [port, call] : last) {
    if (call + 1 == calls_.size()) continue;
    port->early = true;
    cuts[call + 1].push_back(port);
  }
  size_t begin = 0;
  for (auto& [end, ports] : cuts) {
    parts_.push_back({this, begin, end, std::move(ports)});
    begin = end;
  }
  if (begin < calls_.size()) parts_.push_back({this, begin, calls_.size(), {}});
}

void ComputeActor::Fire(int64_t firing) {
  for (Part& part : parts_) {
    stream().Enqueue({.run = &RunPart, .context = &part, .argument = firing});
    for (const Port* port : part.ports) Send(*port);
  }
}

void ComputeActor::RunPart(void* context, int64_t firing) {
  const Part& part = *static_cast<const Part*>(context);
  for (size_t i = part.begin; i < part.end; ++i) {
    if (part.actor->failed()) return;
    Call& call = *part.actor->calls_[i];
    const absl::Status status = part.actor->Run(call, firing);
    if (!status.ok()) return part.actor->Fail(call.op, firing, status);
  }
}

absl::Status ComputeActor::Run(Call& call, int64_t firing) {
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (call.input_slots[i].moves()) call.inputs[i].data = call.input_slots[i].data(firing);
  }
  for (size_t i = 0; i < call.outputs.size(); ++i) {
    if (call.output_slots[i].moves()) call.outputs[i].data = call.output_slots[i].data(firing);
  }
  for (int output : call.accumulating) {
    call.adds[output] = !call.output_slots[output].first_of_slot(firing);
  }
  return call.kernel(call.arguments);
}

}  // namespace weft
