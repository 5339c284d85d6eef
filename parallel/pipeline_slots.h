// How many microbatches a stage holds: the slots of what crosses from the forward to the backward
// pass. This, and an order in which earlier microbatches go first (step_schedule.h), is the pipeline's
// schedule.
#pragma once

#include "parallel/lowered_program.h"

namespace weft {

// Raises the slots of channels of microbatches. Let an actor's depth be the most crossings between
// meshes on a way to it, as time runs in steps of one stage's forward or backward work: a value
// made at depth p and last read at depth q waits q - p of them while every stage takes in a new
// microbatch each two, so that it needs ceil((q - p) / 2) + 1 slots. Stage s of S thus holds S - s
// microbatches, as in 1F1B (PipeDream-Flush, arXiv 2006.09503). What crosses itself has one slot
// more at either end, so that it travels beside the work. At most as many slots as microbatches.
// Does nothing to programs of one mesh.
void SetPipelineSlots(LoweredProgram& program);

}  // namespace weft
