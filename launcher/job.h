// A job as the program sees it: read from protobuf text, overridden from the command line, checked,
// and completed with defaults. Everything wrong with a job is found here, before any rank computes,
// and says where it was written and what to do.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/job.pb.h"
#include "launcher/job_text.h"

namespace weft {

// What the command line changes of a job.
struct JobOverrides {
  std::vector<std::string> sets = {};              // "train.steps=5", applied in order
  std::optional<std::string> mesh = std::nullopt;  // --mesh, applied last, as are the next
  std::string trace = "";                          // --trace; empty: as the job says
  std::string trace_steps = "";                    // --trace-steps
};

// Reads, overrides, validates and resolves the job of a file. Errors: NotFound for the file,
// InvalidArgument for its contents ("tiny.pbtxt:9:9: train.steps: ...") or an override,
// Unimplemented for a field whose feature is not built. `origins`, unless null, learns where fields
// were written, for errors found later.
absl::StatusOr<Job> LoadJob(const std::string& path, const JobOverrides& overrides = {},
                            FieldOrigins* origins = nullptr);

// The same from text; `file` is what errors call it.
absl::StatusOr<Job> ParseJob(const std::string& text, const std::string& file,
                             const JobOverrides& overrides = {}, FieldOrigins* origins = nullptr);

// Merges "path=value" into *job: value is protobuf text, strings may go unquoted, a message is
// written in braces ("optimizer.lamb={lr: 0.01}") and replaces another member of its oneof.
// `origins` learns where the changed fields came from.
absl::Status ApplySet(const std::string& assignment, Job* job, FieldOrigins* origins);

// Checks values, their combinations, and that every feature asked for is built. Needs no file of
// data: launcher/dataset.h checks those.
absl::Status ValidateJob(const Job& job, const FieldOrigins& origins);

// Sets every field that was left out and applies to its default, so that the printed job is the
// whole truth and is itself a valid job.
void ResolveJob(Job* job);

// Whether the mesh fits the number of ranks that run; InvalidArgument says how to make it fit.
absl::Status CheckRanks(const Job& job, int ranks, const FieldOrigins& origins = {});

// Protobuf text that ParseJob reads back.
std::string PrintJob(const Job& job);

}  // namespace weft
