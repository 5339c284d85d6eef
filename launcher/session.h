// Session: one rank's view of a job. It owns the variables; programs compiled in it share them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "actors/executor.h"
#include "actors/stall_watch.h"
#include "launcher/variable_store.h"
#include "parallel/compile.h"
#include "runtime/transport.h"

namespace weft {

class Session {
 public:
  // Writes this rank's box of input `name` for (step, microbatch).
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
    // all are done. The first failure of any rank comes back here, naming rank, actor, op and
    // cause.
    absl::Status Run(int64_t first, int64_t count) {
      const StallWatch::Scope watched(watch_, executor_.get());
      return executor_->RunSteps(first, count);
    }

   private:
    friend class Session;
    Program program_;
    Plan plan_;
    std::unique_ptr<Executor> executor_;
    StallWatch* watch_ = nullptr;
  };

  // `transport` gives rank and size and outlives the session; so do `ops`, `kernels` and `watch`,
  // which watches over what runs; null: nobody does.
  Session(const OpRegistry& ops, const KernelTable& kernels, Transport& transport,
          StallWatch* watch = nullptr)
      : ops_(ops), kernels_(kernels), transport_(transport), watch_(watch) {}

  // Compiles `graph`, makes and initialises the variables that are new, and builds the executor.
  // Every rank calls it with the same graph. ResourceExhausted where the rank has not the
  // memory.
  absl::StatusOr<std::unique_ptr<Runnable>> Load(Graph graph, const CompileOptions& options,
                                                 Feed feed, Fetch fetch);

  VariableStore& variables() { return variables_; }
  int rank() const { return transport_.rank(); }
  int size() const { return transport_.size(); }
  Transport& transport() { return transport_; }

 private:
  absl::Status BindVariables(const Program& program);

  const OpRegistry& ops_;
  const KernelTable& kernels_;
  Transport& transport_;
  StallWatch* const watch_;
  VariableStore variables_;
};

}  // namespace weft
