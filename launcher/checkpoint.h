// Checkpoints: DIR/step-00000050/ with one safetensors file of variables per rank, the resolved
// job, and a file COMPLETE that is written last; a folder without it is not a checkpoint.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "launcher/job.pb.h"
#include "launcher/variable_store.h"
#include "runtime/transport.h"

namespace weft {

// Whether checkpoints can be written to `dir`, which is made where it is missing: asked before
// hours of training. FailedPrecondition with the reason.
absl::Status CheckCheckpointFolder(const std::string& dir);

// Writes the variables of all ranks as of `step` finished steps, then removes the oldest complete
// checkpoints beyond `keep` (0: keeps all). Every rank calls it. What was there before stays whole
// until the new one is.
absl::Status SaveCheckpoint(const Job& job, int64_t step, VariableStore& variables,
                            Transport& transport);

// The newest complete checkpoint in `dir`, or NotFound.
absl::StatusOr<std::string> NewestCheckpoint(const std::string& dir);

// Reads this rank's file into variables that exist already; answers the number of finished steps.
// Errors: another mesh, a missing, additional or differently shaped variable.
absl::StatusOr<int64_t> RestoreCheckpoint(const std::string& folder, const Job& job,
                                          VariableStore& variables, Transport& transport);

// The job that a checkpoint was made by.
absl::StatusOr<Job> CheckpointJob(const std::string& folder);

}  // namespace weft
