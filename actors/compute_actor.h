// ComputeActor: a segment of kernels that run one after the other.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/actor.h"
#include "actors/recordings.h"
#include "actors/slot_operand.h"
#include "runtime/attrs.h"

namespace weft {

// Calls of one kernel that follow each other are made as a batch if the kernel has a batched form
// and they are independent. A firing is cut into parts where the plan has a message leave before
// its end (ActorDef.free_after, full_after); within a batch it leaves when the batch is done.
class ComputeActor final : public Actor {
 public:
  // NotFound for an unknown kernel, InvalidArgument for bad operands or messages that leave
  // before the last use of their slot, naming the op.
  static absl::StatusOr<std::unique_ptr<Actor>> Create(const ActorContext& context, int index);

  int tasks() const override { return static_cast<int>(parts_.size()); }
  int64_t calls(int64_t firing) const override;
  int64_t settling_firings() const override;
  TimedActor timed() const override;
  bool marks_within() const override { return true; }
  absl::Status VisitCalls(const KernelVisitor& visit) override;

 private:
  // One kernel call with everything it needs; its arrays are filled in anew at each firing.
  struct Call {
    std::string op;
    Kernel kernel = nullptr;
    Attrs attrs;
    std::vector<SlotOperand> input_slots;
    std::vector<SlotOperand> output_slots;
    std::vector<Operand> inputs;
    std::vector<Operand> outputs;
    std::vector<int> accumulating;  // outputs
    std::unique_ptr<bool[]> adds;   // per output
    KernelContext arguments;
    BatchedKernel batched = nullptr;
    // Of the first of a batch, all of it; else empty.
    std::vector<const KernelContext*> batch;
  };
  // Calls [begin, end), and the ports whose messages leave behind them. Its calls are a run of
  // TimedActor, which begins at point begin + `index`.
  struct Part {
    ComputeActor* actor;
    size_t begin;
    size_t end;
    std::vector<const Port*> ports;
    size_t index;
    std::unique_ptr<Recordings> recordings = nullptr;  // null: its calls are made one by one
  };

  using Actor::Actor;
  absl::Status AddCall(const ActorContext& context, int index, const KernelCallDef& def);
  // InvalidArgument if a call from number `calls` on uses (or writes) the channel's slot.
  absl::Status CheckUses(int channel, size_t calls, bool writes_only) const;
  // Messages that leave before the end of a firing, by the calls before them.
  struct Cut {
    std::vector<const Port*> ports;
    bool full = false;  // whether another actor goes on with what has been written
  };
  using Cuts = std::map<size_t, Cut>;
  absl::StatusOr<Cuts> FindCuts(const Plan& plan);
  void FormBatches(const Cuts& cuts);
  void CutIntoParts(const Cuts& cuts);
  // How many calls, one or a batch of them, are made at once from number `call` on.
  size_t AtOnce(size_t call) const { return std::max<size_t>(calls_[call]->batch.size(), 1); }
  // About how many calls of the device one run of the part makes.
  int64_t Launches(const Part& part) const;
  // Decides for each part whether it is recorded. InvalidArgument where one must be and cannot.
  absl::Status ChooseRecordings(const ActorContext& context);
  void Fire(int64_t firing) override;
  static void RunPart(void* part, int64_t firing);
  // Makes the part's calls; on failure `op` is the one that failed.
  absl::Status RunCalls(const Part& part, int64_t firing, std::string_view* op);
  // Makes the call of that number, or the batch that begins there.
  absl::Status Run(size_t first, int64_t firing);
  // Fills in the call's arguments for the firing, its stream aside.
  static void Prepare(Call& call, int64_t firing);

  std::vector<std::unique_ptr<Call>> calls_;
  std::vector<Part> parts_;
};

}  // namespace weft
