// Evaluation: a job's loss and metrics over its held-out data, without an update.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/op_def.h"
#include "launcher/bound_data.h"
#include "launcher/job.pb.h"
#include "launcher/session.h"

namespace weft {

// One rank's part, on its actor thread. What it is given outlives it.
class Evaluation {
 public:
  // Compiles the program in the session, where it shares the parameters. Every rank calls it.
  static absl::StatusOr<std::unique_ptr<Evaluation>> Load(const Job& job, const OpRegistry& ops,
                                                          const BoundData& data, Session& session);

  // Runs evaluate.batches held-out batches (0: all there are) on the parameters as they are: no
  // training step is in flight. Answers the mean of every output of the graph over what a loss is a
  // mean over (TargetsPerStep), "loss" among them. Every rank calls it. Errors as for
  // Runnable::Run.
  absl::StatusOr<std::map<std::string, double>> Run();

  int64_t arena_bytes() const { return program_->plan().arena_bytes(); }

 private:
  Evaluation(const Job& job, const BoundData& data) : job_(job), data_(data) {}

  const Job& job_;
  const BoundData& data_;
  std::map<std::string, std::vector<double>, std::less<>> values_;  // by output and batch
  std::unique_ptr<Session::Runnable> program_;  // destroyed first: it writes the values
};

}  // namespace weft
