// StageProgram: what the ranks of one pipeline stage run. A program over several meshes is lowered
// and ordered as one; each set of ranks that lies on the same meshes then has a part of it, which
// memory and plans are made from as if there were no other.
#pragma once

#include <memory>
#include <vector>

#include "graph/graph.h"
#include "parallel/lifetimes.h"
#include "parallel/lowered_program.h"
#include "parallel/plan_memory.h"
#include "parallel/step_schedule.h"

namespace weft {

// A value. Rank-symbolic: the same for all of its ranks.
struct StageProgram {
  std::vector<int> meshes;  // of the graph, on which the ranks lie; increasing
  std::vector<int> ranks;   // world ranks, increasing
  LoweredProgram lowered;
  StepSchedule schedule;                       // the order of every stream, and when
  std::vector<std::vector<BufferLife>> lives;  // by buffer
  // What InstantiatePlan has placed so far; of this part alone.
  std::shared_ptr<MemoryPlans> memory_plans = std::make_shared<MemoryPlans>();
};

// The parts of `whole`, with meshes, ranks and actors alone: one for each set of ranks that lie on
// the same meshes, in the order of their lowest ranks. What of an actor, channel or buffer lies on
// other ranks is left out; a conversion that moves nothing stays where its result is. O(parts *
// actors).
std::vector<StageProgram> SplitByRanks(const Graph& graph, const LoweredProgram& whole);

}  // namespace weft
