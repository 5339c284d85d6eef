// Session: one rank's view of a job. It owns the variables; programs compiled in it share them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "actors/executor.h"
#include "actors/stall_watch.h"
#include "launcher/product_tuning.h"
#include "launcher/variable_store.h"
#include "parallel/compile.h"
#include "runtime/transport.h"

namespace weft {

// Where a session's variables lie and its plans run; by default on the CPU.
struct SessionPlace {
  Device* device = nullptr;              // outlives the session
  const KernelTable* kernels = nullptr;  // the device's
  Recording recording = Recording::kAuto;
  ProductTuning* tuning = nullptr;  // null: products use the library's first guesses; as the device
};

class Session {
 public:
  // Writes this rank's box of input `name` for (step, microbatch). Feed and Fetch are called on
  // threads of their own, one call of each at a time.
  using Feed = std::function<absl::Status(std::string_view name, int64_t step, int64_t microbatch,
                                          const Operand& out)>;
  // Reads this rank's box of output `name`.
  using Fetch = std::function<absl::Status(std::string_view name, int64_t step, int64_t microbatch,
                                           const Operand& in)>;

  // A compiled graph bound to this session's variables and ready to step. Lives as long as it likes
  // within the session.
  class Runnable {
   public:
    const Program& program() const { return program_; }
    const Plan& plan() const { return plan_; }
    // Runs steps [first, first + count); metrics arrive through the fetch function. Returns when
    // all are done. The first failure of any rank comes back here, naming rank, actor, op, step and
    // cause. No step is in flight before.
    absl::Status Run(int64_t first, int64_t count) {
      const StallWatch::Scope watched(watch_, executor_.get());
      const absl::Status status = executor_->RunSteps(first, count);
      collected_ = executor_->launched();
      return status;
    }

    // The same in halves, for callers that work while a step runs. Submit starts step `step` and
    // returns; blocks while kStepsAhead are in flight. Collect blocks until the oldest in flight
    // has ended: its results have been fetched, while those of the next may be under way. At least
    // one is in flight. Answers the payload bytes that this rank sent in that step.
    static constexpr int kStepsAhead = Executor::kStepsAhead;
    absl::Status Submit(int64_t step);
    absl::StatusOr<int64_t> Collect();
    int64_t in_flight() const { return executor_->launched() - collected_; }

    // As for Executor.
    absl::Status TimeSteps(int64_t first, int64_t count) {
      return executor_->TimeSteps(first, count);
    }
    absl::StatusOr<std::vector<FiringTime>> ReadTimes() const { return executor_->ReadTimes(); }

   private:
    friend class Session;
    Program program_;
    Plan plan_;
    std::unique_ptr<Executor> executor_;
    StallWatch* watch_ = nullptr;
    int64_t collected_ = 0;
  };

  // `transport` gives rank and size and outlives the session; so do `ops`, `kernels` and `watch`,
  // which watches over what runs; null: nobody does. `kernels` are the CPU's: they initialise
  // variables, wherever these lie, and run the plans unless there is another place for them.
  Session(const OpRegistry& ops, const KernelTable& kernels, Transport& transport,
          StallWatch* watch = nullptr, const SessionPlace& place = {})
      : ops_(ops),
        kernels_(kernels),
        transport_(transport),
        watch_(watch),
        place_(place),
        variables_(place.device) {}

  // Compiles `graph`, makes and initialises the variables that are new, builds the executor, and
  // decides by what algorithms its matrix products are done, where the place has such.
  // Every rank calls it with the same graph. ResourceExhausted where the rank has not the memory.
  // `step_word` is what errors call a step of it: "step 4" is the one numbered 3.
  absl::StatusOr<std::unique_ptr<Runnable>> Load(Graph graph, const CompileOptions& options,
                                                 Feed feed, Fetch fetch,
                                                 std::string step_word = "step");

  VariableStore& variables() { return variables_; }
  int rank() const { return transport_.rank(); }
  int size() const { return transport_.size(); }
  Transport& transport() { return transport_; }

 private:
  // Variables that are there already lie as they lie: facts for the layouts of a further program.
  void AnnotateVariables(Graph& graph) const;
  absl::Status BindVariables(const Program& program);
  absl::Status Initialise(const Variable& variable, VariableStore::Entry& entry);

  const OpRegistry& ops_;
  const KernelTable& kernels_;
  Transport& transport_;
  StallWatch* const watch_;
  const SessionPlace place_;
  VariableStore variables_;
  std::map<std::string, Layout> layouts_;  // of all variables, those of other stages too
};

}  // namespace weft
