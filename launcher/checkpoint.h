// Checkpoints: DIR/step-00000050/ with one safetensors file of variables per rank, the resolved
// job, and a file COMPLETE that is written last; a folder without it is not a checkpoint. COMPLETE
// counts the checkpoints of DIR in the order in which they were written, which steps alone do not
// tell: a job may be trained anew in a folder that was used before.
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

// Writes the variables of all ranks as of `step` finished steps, then removes the checkpoints that
// were written first beyond `keep` (0: keeps all), but never the last one that was saved with
// `finite`, which says whether the loss still was. Every rank calls it. What was there before, a
// checkpoint of the same step included, stays whole until the new one is.
absl::Status SaveCheckpoint(const Job& job, int64_t step, bool finite, VariableStore& variables,
                            Transport& transport);

// The complete checkpoint in `dir` that was written last, or NotFound.
absl::StatusOr<std::string> NewestCheckpoint(const std::string& dir);

// `path` if it is a complete checkpoint, else the newest one in it. FailedPrecondition for a
// checkpoint that was not finished, NotFound.
absl::StatusOr<std::string> FindCheckpoint(const std::string& path);

// Which variables of a checkpoint a program must have.
enum class RestoreScope {
  kAll,   // to go on training: neither more nor less, and the same optimizer
  kModel  // to use the model: what only training needs is left out
};

// Reads this rank's file into variables that exist already; answers the number of finished steps.
// Errors: another mesh or optimizer, a missing or (kAll) additional variable, one of another shape
// or of which this rank held another part, a rank's file of another step than the checkpoint's.
absl::StatusOr<int64_t> RestoreCheckpoint(const std::string& folder, const Job& job,
                                          RestoreScope scope, VariableStore& variables,
                                          Transport& transport);

// The job that a checkpoint was made by.
absl::StatusOr<Job> CheckpointJob(const std::string& folder);

}  // namespace weft
