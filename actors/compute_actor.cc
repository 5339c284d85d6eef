#include "actors/compute_actor.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actors/memory_ranges.h"
#include "actors/workspace.h"
#include "runtime/attr.pb.h"
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Kernels of fewer bytes than this, on average, end sooner than the host has enqueued the next:
// some microseconds at the rate at which GPUs read and write.
constexpr int64_t kShortBytes = 24 << 20;
// Recording one call gains nothing.
constexpr int64_t kFewestCalls = 2;
// Batches take one launch, or one for each step of what the kernel does; few take more.
constexpr int64_t kBatchLaunches = 2;

int64_t BytesOf(const SlotOperand& operand) {
  return NumElements(operand.buffer().shape) * SizeOf(operand.buffer().logical.dtype);
}

// A batch goes on for so many bytes, read and written, once it holds up a message: that somebody
// may go on with what a call has written, or that memory may be used anew. Some 50 us and 1 ms.
constexpr int64_t kMostBeforeFull = 128 << 20;
constexpr int64_t kMostBeforeFree = int64_t{4} << 30;

// The batch that calls may still join.
struct OpenBatch {
  size_t first = 0;
  MemoryRanges read, written;  // at any firing
  // Bytes since the first message of a kind that it holds up; -1: it holds up none.
  int64_t since_full = -1, since_free = -1;
};

// f(data, bytes) for all the places of the operands.
template <typename F>
void ForEachPlace(const std::vector<SlotOperand>& operands, F&& f) {
  for (const SlotOperand& operand : operands) {
    if (operand.absent()) continue;
    for (const void* data : operand.buffer().slots) f(data, BytesOf(operand));
  }
}

absl::Status CheckCopy(const std::vector<SlotOperand>& inputs,
                       const std::vector<SlotOperand>& outputs) {
  const bool one = inputs.size() == 1 && outputs.size() == 1;
  if (one && !inputs[0].absent() && !outputs[0].absent()) {
    const Buffer& from = inputs[0].buffer();
    const Buffer& to = outputs[0].buffer();
    if (from.logical.dtype == to.logical.dtype && from.box == to.box) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "a copy has one input and one output of the same box and dtype");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Actor>> ComputeActor::Create(const ActorContext& context,
                                                            int index) {
  auto actor = std::unique_ptr<ComputeActor>(new ComputeActor(context, index));
  for (const KernelCallDef& def : context.plan.actors(index).compute().calls()) {
    WEFT_RETURN_IF_ERROR(Annotate(actor->AddCall(context, index, def),
                                  absl::StrCat("op `", def.name(), "` (", def.kernel(), ")")));
  }
  WEFT_ASSIGN_OR_RETURN(const Cuts cuts, actor->FindCuts(context.plan));
  actor->FormBatches(cuts);
  actor->CutIntoParts(cuts);
  WEFT_RETURN_IF_ERROR(actor->ChooseRecordings(context));
  return actor;
}

absl::Status ComputeActor::AddCall(const ActorContext& context, int index,
                                   const KernelCallDef& def) {
  auto call = std::make_unique<Call>();
  call->op = def.name();
  call->kernel =
      def.kernel().empty() ? context.device.copy_kernel() : context.kernels.Find(def.kernel());
  if (call->kernel == nullptr) {
    return absl::NotFoundError(absl::StrCat("this device has no kernel `", def.kernel(), "`"));
  }
  if (!def.kernel().empty()) call->batched = context.kernels.FindBatched(def.kernel());
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
  if (def.kernel().empty()) {
    WEFT_RETURN_IF_ERROR(CheckCopy(call->input_slots, call->output_slots));
  }
  call->adds = std::make_unique<bool[]>(def.outputs_size());
  for (int output : def.accumulate()) {
    if (output < 0 || output >= def.outputs_size() || def.outputs(output).channel() < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("accumulates output ", output, ", which is on no channel"));
    }
    call->accumulating.push_back(output);
  }
  WEFT_ASSIGN_OR_RETURN(
      std::byte* const workspace,
      WorkspaceAt(context.arena, def.workspace_offset(), def.workspace_bytes(), /*needed=*/0));
  call->arguments = {.inputs = call->inputs,
                     .outputs = call->outputs,
                     .attrs = &call->attrs,
                     .workspace = workspace,
                     .workspace_bytes = def.workspace_bytes(),
                     .accumulate = {},
                     .device = context.device.state()};
  if (!call->accumulating.empty()) {
    call->arguments.accumulate = absl::MakeConstSpan(call->adds.get(), call->outputs.size());
  }
  calls_.push_back(std::move(call));
  return absl::OkStatus();
}

absl::Status ComputeActor::CheckUses(int channel, size_t calls, bool writes_only) const {
  for (size_t i = calls; i < calls_.size(); ++i) {
    for (const auto* operands : {&calls_[i]->output_slots, &calls_[i]->input_slots}) {
      if (writes_only && operands == &calls_[i]->input_slots) continue;
      for (const SlotOperand& operand : *operands) {
        if (operand.channel() != channel) continue;
        return absl::InvalidArgumentError(absl::StrCat(
            "op `", calls_[i]->op, "` uses `", operand.buffer().name, "` after its slot has left"));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ComputeActor::Cuts> ComputeActor::FindCuts(const Plan& plan) {
  Cuts cuts;
  for (const bool output : {false, true}) {
    const auto& after = output ? def().full_after() : def().free_after();
    const auto& channels = output ? def().outputs() : def().inputs();
    for (int i = 0; i < after.size(); ++i) {
      const size_t calls = static_cast<size_t>(after[i]);
      if (calls == calls_.size()) continue;
      // What it has written it may read on; what it has given back it may not touch.
      WEFT_RETURN_IF_ERROR(CheckUses(channels[i], calls, /*writes_only=*/output));
      Port* const port = FindPort(channels[i], output);
      port->early = true;
      Cut& cut = cuts[calls];
      cut.ports.push_back(port);
      // A channel without buffers says that memory is free.
      cut.full = cut.full || (output && plan.channels(channels[i]).buffers_size() > 0);
    }
  }
  return cuts;
}

// A call joins those before it if it writes nothing that they touch and they write nothing that it
// reads. Its own operands and workspace may overlap each other.
void ComputeActor::FormBatches(const Cuts& cuts) {
  OpenBatch open;
  for (size_t i = 0; i < calls_.size(); ++i) {
    Call& call = *calls_[i];
    int64_t bytes = 0;
    bool joins = i > 0 && call.batched != nullptr && call.kernel == calls_[open.first]->kernel &&
                 call.batched == calls_[open.first]->batched;
    const auto see_write = [&](const void* data, int64_t size) {
      joins = joins && !open.read.Overlaps(data, size) && !open.written.Overlaps(data, size);
    };
    ForEachPlace(call.output_slots, see_write);
    see_write(call.arguments.workspace, call.arguments.workspace_bytes);
    ForEachPlace(call.input_slots, [&](const void* data, int64_t size) {
      joins = joins && !open.written.Overlaps(data, size);
    });
    for (const auto* operands : {&call.input_slots, &call.output_slots}) {
      for (const SlotOperand& operand : *operands) bytes += operand.absent() ? 0 : BytesOf(operand);
    }
    if (const auto cut = cuts.find(i); cut != cuts.end()) {
      int64_t& since = cut->second.full ? open.since_full : open.since_free;
      since = std::max<int64_t>(since, 0);
    }
    for (auto [since, most] : {std::pair(&open.since_full, kMostBeforeFull),
                               std::pair(&open.since_free, kMostBeforeFree)}) {
      if (*since < 0) continue;
      *since += bytes;
      joins = joins && *since <= most;
    }
    if (!joins) {
      open = {.first = i};
    } else {
      std::vector<const KernelContext*>& batch = calls_[open.first]->batch;
      if (batch.empty()) batch.push_back(&calls_[open.first]->arguments);
      batch.push_back(&call.arguments);
    }
    ForEachPlace(call.input_slots,
                 [&](const void* data, int64_t size) { open.read.Add(data, size); });
    ForEachPlace(call.output_slots,
                 [&](const void* data, int64_t size) { open.written.Add(data, size); });
    open.written.Add(call.arguments.workspace, call.arguments.workspace_bytes);
  }
}

void ComputeActor::CutIntoParts(const Cuts& cuts) {
  Cuts behind_batches;
  size_t end = 0;  // of the batch that the cut is in
  for (const auto& [calls, cut] : cuts) {
    while (end < calls) end += AtOnce(end);
    std::vector<const Port*>& ports = behind_batches[end].ports;
    ports.insert(ports.end(), cut.ports.begin(), cut.ports.end());
  }
  size_t begin = 0;
  for (auto& [calls, cut] : behind_batches) {
    parts_.push_back({this, begin, calls, std::move(cut.ports), parts_.size()});
    begin = calls;
  }
  // A firing enqueues something always, so that its end is the end of a task.
  if (begin < calls_.size() || parts_.empty()) {
    parts_.push_back({this, begin, calls_.size(), {}, parts_.size()});
  }
}

int64_t ComputeActor::Launches(const Part& part) const {
  int64_t launches = 0;
  for (size_t i = part.begin; i < part.end; i += AtOnce(i)) {
    launches += AtOnce(i) > 1 ? kBatchLaunches : 1;
  }
  return launches;
}

int64_t ComputeActor::calls(int64_t firing) const {
  int64_t calls = 0;
  for (const Part& part : parts_) {
    const bool replays = part.recordings != nullptr && firing >= 2 * part.recordings->period();
    calls += replays ? 1 : Launches(part);
  }
  return calls;
}

// Places are recorded, and replayed at once, in the second period.
int64_t ComputeActor::settling_firings() const {
  int64_t firings = 1;
  for (const Part& part : parts_) {
    if (part.recordings != nullptr) firings = std::max(firings, 2 * part.recordings->period());
  }
  return firings;
}

TimedActor ComputeActor::timed() const {
  TimedActor timed = Actor::timed();
  timed.runs.clear();
  for (const Part& part : parts_) timed.runs.push_back(static_cast<int>(part.end - part.begin));
  return timed;
}

absl::Status ComputeActor::ChooseRecordings(const ActorContext& context) {
  DeviceQueue* const queue = context.device.queue();
  if (queue == nullptr || context.recording == Recording::kOff) return absl::OkStatus();
  for (Part& part : parts_) {
    int64_t bytes = 0;
    int64_t period = 1;
    for (size_t i = part.begin; i < part.end; ++i) {
      for (const auto* operands : {&calls_[i]->input_slots, &calls_[i]->output_slots}) {
        for (const SlotOperand& operand : *operands) {
          if (operand.absent()) continue;
          period = std::lcm(period, operand.period());
          bytes += BytesOf(operand);
        }
      }
    }
    const int64_t calls = Launches(part);
    const bool must = context.recording == Recording::kOn;
    if (calls < kFewestCalls || (!must && bytes > calls * kShortBytes)) continue;
    if (period <= Recordings::kMostPlaces) {
      part.recordings = std::make_unique<Recordings>(*queue, period, must);
    } else if (must) {
      return absl::InvalidArgumentError(
          absl::StrCat("its operands are at the same addresses only every ", period,
                       " firings; CUDA graphs take ", Recordings::kMostPlaces,
                       " at most. Use fewer microbatches, or train.cuda_graphs: AUTO"));
    }
  }
  return absl::OkStatus();
}

void ComputeActor::Fire(int64_t firing) {
  for (Part& part : parts_) {
    stream().Enqueue(
        {.run = &RunPart, .context = &part, .argument = firing, .more = &part != &parts_.back()});
    for (const Port* port : part.ports) Send(*port);
  }
}

void ComputeActor::RunPart(void* context, int64_t firing) {
  const Part& part = *static_cast<const Part*>(context);
  ComputeActor& actor = *part.actor;
  if (actor.failed()) return;
  std::string_view op;
  const auto enqueue = [&] { return actor.RunCalls(part, firing, &op); };
  // What is timed kernel by kernel is launched so.
  const absl::Status status =
      part.recordings == nullptr || actor.Timed(firing)
          ? enqueue()
          : part.recordings->Run(firing, actor.stream().native_stream(), enqueue);
  if (!status.ok()) actor.Fail(op, firing, status);
}

absl::Status ComputeActor::RunCalls(const Part& part, int64_t firing, std::string_view* op) {
  const bool timed = Timed(firing);
  if (timed) Mark(firing, static_cast<int>(part.begin + part.index));
  for (size_t i = part.begin; i < part.end; i += AtOnce(i)) {
    if (failed()) break;
    *op = calls_[i]->op;
    WEFT_RETURN_IF_ERROR(Run(i, firing));
    // The first of a batch carries its time.
    for (size_t done = i + 1; timed && done <= i + AtOnce(i); ++done) {
      Mark(firing, static_cast<int>(done + part.index));
    }
  }
  return absl::OkStatus();
}

// Operands come back to the same slots after a period; past the cap on it, which no plan of few
// slots meets, the rest go unseen.
absl::Status ComputeActor::VisitCalls(const KernelVisitor& visit) {
  for (size_t i = 0; i < calls_.size(); ++i) {
    Call& call = *calls_[i];
    int64_t period = 1;
    for (const auto* operands : {&call.input_slots, &call.output_slots}) {
      for (const SlotOperand& operand : *operands) {
        if (!operand.absent()) period = std::lcm(period, operand.period());
      }
    }
    for (int64_t firing = 0; firing < std::min(period, Recordings::kMostPlaces); ++firing) {
      Prepare(call, firing);
      WEFT_RETURN_IF_ERROR(Annotate(
          visit(def().compute().calls(static_cast<int>(i)).kernel(), call.kernel, call.arguments),
          absl::StrCat("actor `", name(), "`, op `", call.op, "`")));
    }
  }
  return absl::OkStatus();
}

void ComputeActor::Prepare(Call& call, int64_t firing) {
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (call.input_slots[i].moves()) call.inputs[i].data = call.input_slots[i].data(firing);
  }
  for (size_t i = 0; i < call.outputs.size(); ++i) {
    if (call.output_slots[i].moves()) call.outputs[i].data = call.output_slots[i].data(firing);
  }
  for (int output : call.accumulating) {
    call.adds[output] = !call.output_slots[output].first_of_slot(firing);
  }
}

absl::Status ComputeActor::Run(size_t first, int64_t firing) {
  const size_t count = AtOnce(first);
  for (size_t i = first; i < first + count; ++i) {
    Prepare(*calls_[i], firing);
    calls_[i]->arguments.native_stream = stream().native_stream();
  }
  Call& call = *calls_[first];
  if (count == 1) return call.kernel(call.arguments);
  absl::Status status = call.batched(call.batch);
  if (status.ok()) return status;
  return Annotate(status, absl::StrCat("in a batch with the ", count - 1, " calls after it"));
}

}  // namespace weft
