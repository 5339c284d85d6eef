// From a job to the graphs that it trains, evaluates and generates with.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "graph/decoder.h"
#include "graph/graph.h"
#include "launcher/job.pb.h"
#include "parallel/compile.h"
#include "runtime/dtype.h"

namespace weft {

// The model of a resolved job, in the graph library's words.
DecoderConfig DecoderOf(const Job& job);
// The mesh axis of pipeline stages: each of its coordinates is a sub-mesh of consecutive layers.
inline constexpr char kStageAxis[] = "stage";
// The mesh of a job, all its ranks. Errors name the field.
absl::StatusOr<Mesh> MeshOf(const Job& job);

// The type in which the model computes; TF32 is a way to multiply values of f32.
DType ComputeType(const Job& job);

// What errors call the model: the graph file, or the job's field.
std::string ModelName(const Job& job);
// Rows of the graph of one microbatch: those of the largest. Microbatch j of M holds rows
// [jB/M, (j+1)B/M) of the global batch of B; BatchFeed pads the shorter ones.
int64_t MicrobatchRows(const Job& job);

// One training step: inputs tokens, targets (a microbatch), loss_scale, learning_rate, step (a
// step; no step in F16); outputs loss, grad_norm, in F16 loss_scale and skipped
// (graph/optimizer.h), and the metrics of a graph file, each summed over the microbatches.
absl::StatusOr<Graph> TrainGraph(const Job& job, const OpRegistry& ops);
// The loss and metrics of one batch without an update: the same microbatches, inputs (but those of
// the optimizer) and parameters by name.
absl::StatusOr<Graph> EvaluateGraph(const Job& job, const OpRegistry& ops);
// Logits of `batch` rows of `sequence` tokens: input tokens, output logits.
absl::StatusOr<Graph> GenerateGraph(const Job& job, const OpRegistry& ops, int64_t batch,
                                    int64_t sequence);

// How these graphs are compiled.
CompileOptions CompileOptionsOf(const Job& job);

// The learning rate of step `step` (0-based) by the job's schedule.
double LearningRate(const Job& job, int64_t step);

}  // namespace weft
