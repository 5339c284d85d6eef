// model.graph_file: a model written as graph text instead of a decoder's sizes.
#pragma once

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "launcher/job.pb.h"

namespace weft {

// Reads the forward graph that a job's model.graph_file names (a path from the working directory)
// and checks that the job can train it:
//   inputs     those that the job's data entries feed, [rows of a microbatch, a row...] once per
//              microbatch: of a stream i32 [rows, data.sequence] ("tokens" and "targets" of an
//              unnamed one, neither obligatory), of a table what its rows are; and "loss_scale",
//              f32 [] once per step: 1 / targets of the global batch, or 1 / its rows for tables
//   outputs    "loss", f32 []; any others are metrics, f32 [] as well. Each is summed over the
//              microbatches, so a mean is a sum times loss_scale
//   variables  trainable ones without an update: the job's optimizer adds it
//   mesh       the job's; a text that names one must name that
// Layouts and conversions are weft's to decide: the text has annotations only.
// Errors: NotFound for the file, InvalidArgument with file and line or the name of the element.
absl::StatusOr<Graph> ReadGraphFile(const Job& job, const OpRegistry& ops);

}  // namespace weft
