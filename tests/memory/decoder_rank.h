// DecoderRank: one rank of examples/jobs/tiny.pbtxt in training, executor and arena in the test's
// hands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actors/executor.h"
#include "kernels/all_ops.h"
#include "launcher/job.h"
#include "launcher/session.h"
#include "parallel/compile.h"

namespace weft::testing {

// The job with layouts, on all ranks; outlives them.
class DecoderProgram {
 public:
  // LoadJob's error, or Compile's.
  static absl::StatusOr<std::unique_ptr<DecoderProgram>> Make(const std::string& mesh,
                                                              std::vector<std::string> sets);
  const Program& program() const { return program_; }
  const Job& job() const { return job_; }
  const OpRegistry& ops() const { return ops_; }
  const KernelTable& kernels() const { return kernels_; }

 private:
  Job job_;
  OpRegistry ops_;
  KernelTable kernels_;
  Program program_;
};

// Belongs to one thread. Feeds tokens made of step, microbatch and place.
class DecoderRank {
 public:
  DecoderRank(const DecoderProgram& shared, Transport& transport);

  // Variables as a session initialises them, and the executor.
  absl::Status Load();
  absl::Status Run(int64_t first, int64_t count) { return executor_->RunSteps(first, count); }

  const Plan& plan() const { return executor_->plan(); }
  // By step.
  const std::map<int64_t, float>& losses() const { return losses_; }
  // Where the arena begins; known once two steps have run.
  std::byte* arena() const;

 private:
  absl::Status Feed(std::string_view name, int64_t step, int64_t microbatch, const Operand& out);

  const DecoderProgram& shared_;
  Session session_;
  std::unique_ptr<Executor> executor_;
  std::map<int64_t, float> losses_;
  std::byte* lowest_learning_rate_ = nullptr;
};

}  // namespace weft::testing
