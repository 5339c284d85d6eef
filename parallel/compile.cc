#include "parallel/compile.h"

#include "absl/strings/str_cat.h"
#include "parallel/estimate_times.h"
#include "parallel/infer_layouts.h"
#include "parallel/insert_reshards.h"
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

absl::StatusOr<Program> Compile(Graph graph, const OpRegistry& ops, const CompileOptions& options) {
  Program program;
  program.cost = options.cost;
  program.memory_bytes = options.memory_bytes;
  const PassContext context{ops, program.cost, options.microbatches, &program.conversions};
  for (const PassRow& pass : kPipeline) {
    WEFT_RETURN_IF_ERROR(Annotate(pass.run(graph, context), pass.name));
    WEFT_RETURN_IF_ERROR(Annotate(Verify(graph), absl::StrCat("after pass ", pass.name)));
  }
  WEFT_ASSIGN_OR_RETURN(program.lowered,
                        Lower(graph, options.microbatches, options.cost.BucketBytes()));
  WEFT_RETURN_IF_ERROR(EstimateTimes(graph, options.cost, program.lowered));
  WEFT_ASSIGN_OR_RETURN(program.schedule, ScheduleStep(program.lowered));
  program.lives = BufferLives(program.lowered, program.schedule);
  program.graph = std::move(graph);
  return program;
}

}  // namespace weft
