// PlanMemory: where everything of one rank lies in its arena.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "parallel/lifetimes.h"
#include "parallel/lowered_program.h"
#include "parallel/reuse_edges.h"
#include "parallel/step_schedule.h"

namespace weft {

// One rank's sizes, in bytes.
struct MemorySizes {
  std::vector<int64_t> buffers;  // of one slot; parallel to LoweredProgram::buffers
  // Scratch memory of a call while it runs: actor, call within it.
  std::function<int64_t(int actor, int call)> workspace;
};

struct Holder {
  std::string name;
  int64_t bytes = 0;
};

struct PlannedMemory {
  std::vector<std::vector<int64_t>> offsets;    // per buffer and slot; none for variables
  std::vector<std::vector<int64_t>> workspace;  // offset per actor and call
  std::vector<ReuseEdge> edges;
  int64_t bytes = 0;         // of the arena
  int64_t lower_bound = 0;   // no placement needs less
  std::vector<Holder> peak;  // what is live when most is, largest first
};

// Packs slots and workspaces by lifetime; edges keep apart what shares memory across streams.
// `lives` as BufferLives has it. Deterministic.
PlannedMemory PlanMemory(const LoweredProgram& program, const StepSchedule& schedule,
                         const std::vector<std::vector<BufferLife>>& lives,
                         const MemorySizes& sizes);

}  // namespace weft
