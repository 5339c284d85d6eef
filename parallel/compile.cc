#include "parallel/compile.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "parallel/estimate_times.h"
#include "parallel/infer_layouts.h"
#include "parallel/insert_reshards.h"
#include "parallel/pipeline_slots.h"
#include "parallel/prune.h"
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
};

}  // namespace

const StageProgram* Program::StageOf(int rank) const {
  for (const StageProgram& stage : stages) {
    if (std::binary_search(stage.ranks.begin(), stage.ranks.end(), rank)) return &stage;
  }
  return nullptr;
}

absl::StatusOr<Program> Compile(Graph graph, const OpRegistry& ops, const CompileOptions& options) {
  Program program;
  program.cost = options.cost;
  program.memory_bytes = options.memory_bytes;
  const PassContext context{ops, program.cost, options.microbatches, &program.conversions};
  for (const PassRow& pass : kPipeline) {
    WEFT_RETURN_IF_ERROR(Annotate(pass.run(graph, context), pass.name));
    WEFT_RETURN_IF_ERROR(Annotate(Verify(graph), absl::StrCat("after pass ", pass.name)));
  }
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

}  // namespace weft
