#include "parallel/compile.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "parallel/estimate_times.h"
#include "parallel/fuse_casts.h"
#include "parallel/fuse_sums.h"
#include "parallel/infer_layouts.h"
#include "parallel/insert_reshards.h"
#include "parallel/merge_gradients.h"
#include "parallel/pipeline_slots.h"
#include "parallel/prune.h"
#include "parallel/unroll_rings.h"
#include "runtime/status.h"

namespace weft {
namespace {

struct PassRow {
  const char* name;
  absl::Status (*run)(Graph&, const PassContext&);
};

// The pipeline: one row per pass, in order.
constexpr PassRow kPipeline[] = {
    {"prune", Prune},
    {"infer layouts", InferLayouts},
    {"insert reshards", InsertReshards},
    {"unroll rings", UnrollRings},
    {"merge gradients", MergeGradients},
    {"fuse sums", FuseSums},
    {"fuse casts", FuseCasts},
};

// Whether the graph has states to split, and ranks to split them over.
bool CanShardStates(const Graph& graph) {
  const bool axis = std::any_of(graph.meshes.begin(), graph.meshes.end(), [](const Mesh& mesh) {
    const int data = mesh.FindAxis("data");
    return data >= 0 && mesh.axes()[data].size > 1;
  });
  return axis && std::any_of(graph.variables.begin(), graph.variables.end(),
                             [](const Variable& v) { return !v.trainable && v.update; });
}

bool Fits(const Program& program) {
  return std::all_of(program.stages.begin(), program.stages.end(), [&](const StageProgram& stage) {
    return !absl::IsResourceExhausted(InstantiatePlan(program, stage.ranks[0]).status());
  });
}

absl::StatusOr<Program> CompileWith(Graph graph, const OpRegistry& ops,
                                    const CompileOptions& options, bool shard_states) {
  Program program;
  program.cost = options.cost;
  program.memory_bytes = options.memory_bytes;
  program.device = options.device;
  const PassContext context{.ops = ops,
                            .cost = program.cost,
                            .microbatches = options.microbatches,
                            .conversions = &program.conversions,
                            .certificate = &program.layouts,
                            .shard_states = shard_states,
                            .meeting = options.meeting};
  for (const PassRow& pass : kPipeline) {
    WEFT_RETURN_IF_ERROR(Annotate(pass.run(graph, context), pass.name));
    WEFT_RETURN_IF_ERROR(Annotate(Verify(graph), absl::StrCat("after pass ", pass.name)));
  }
  WEFT_RETURN_IF_ERROR(
      CheckConversions(program.conversions, options.microbatches, options.conversions));
  WEFT_ASSIGN_OR_RETURN(LoweredProgram lowered,
                        Lower(graph, options.microbatches, options.cost.BucketBytes()));
  WEFT_RETURN_IF_ERROR(EstimateTimes(graph, options.cost, lowered));
  SetPipelineSlots(lowered);
  program.stages = SplitByRanks(graph, lowered);
  std::vector<const LoweredProgram*> parts;
  for (const StageProgram& stage : program.stages) parts.push_back(&stage.lowered);
  WEFT_ASSIGN_OR_RETURN(std::vector<StepSchedule> schedules, ScheduleStep(parts));
  for (size_t s = 0; s < schedules.size(); ++s) {
    StageProgram& stage = program.stages[s];
    stage.schedule = std::move(schedules[s]);
    stage.lives = BufferLives(stage.lowered, stage.schedule);
  }
  program.graph = std::move(graph);
  return program;
}

}  // namespace

const StageProgram* Program::StageOf(int rank) const {
  for (const StageProgram& stage : stages) {
    if (std::binary_search(stage.ranks.begin(), stage.ranks.end(), rank)) return &stage;
  }
  return nullptr;
}

absl::StatusOr<Program> Compile(Graph graph, const OpRegistry& ops, const CompileOptions& options) {
  using ShardStates = CompileOptions::ShardStates;
  if (options.shard_states == ShardStates::kAlways) {
    return CompileWith(std::move(graph), ops, options, /*shard_states=*/true);
  }
  const bool may_shard = options.shard_states == ShardStates::kWhenShort &&
                         options.memory_bytes > 0 && CanShardStates(graph);
  if (!may_shard) return CompileWith(std::move(graph), ops, options, /*shard_states=*/false);
  absl::StatusOr<Program> whole = CompileWith(graph, ops, options, /*shard_states=*/false);
  if (!whole.ok() || Fits(*whole)) return whole;
  absl::StatusOr<Program> sharded =
      CompileWith(std::move(graph), ops, options, /*shard_states=*/true);
  return sharded.ok() && Fits(*sharded) ? std::move(sharded) : std::move(whole);
}

}  // namespace weft
