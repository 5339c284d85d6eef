// PlanMemory: where everything of one rank lies in its arena.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "parallel/lifetimes.h"
#include "parallel/lowered_program.h"
#include "parallel/reuse_edges.h"
#include "parallel/step_schedule.h"

namespace weft {

// One rank's sizes, in bytes.
struct MemorySizes {
  friend bool operator==(const MemorySizes&, const MemorySizes&) = default;

  std::vector<int64_t> buffers;  // of one slot; parallel to LoweredProgram::buffers
  // Scratch memory while a call runs: by actor and call; of an actor without calls, one entry for
  // its whole firing or none.
  std::vector<std::vector<int64_t>> workspaces;
  // Per buffer the one within whose memory it may lie, or -1: what a conversion takes and nobody
  // else reads, and leaves as it is within what it makes. Empty: none.
  std::vector<int> within;
};

struct Holder {
  std::string name;
  int64_t bytes = 0;
};

struct PlannedMemory {
  // Per buffer and slot; none for variables.
  std::vector<std::vector<int64_t>> offsets;
  std::vector<int> within;  // as in MemorySizes, where it was done: `offsets` has where that begins
  std::vector<std::vector<int64_t>> workspaces;  // offsets, as MemorySizes has the bytes
  std::vector<ReuseEdge> edges;
  int64_t bytes = 0;         // of the arena
  int64_t lower_bound = 0;   // no placement needs less
  std::vector<Holder> peak;  // what is live when most is, largest first
};

// The end of the calls from number `call` on whose workspaces live together, and so lie apart:
// those of one kernel that follow each other and take little. `bytes` of workspace by call of the
// actor.
size_t EndOfWorkspaces(const LoweredActor& actor, const std::vector<int64_t>& bytes, size_t call);

// Packs slots and workspaces by lifetime; edges keep apart what shares memory across streams. Calls
// of one kernel that follow each other have small workspaces each to itself.
// `lives` as BufferLives has it. Deterministic.
PlannedMemory PlanMemory(const LoweredProgram& program, const StepSchedule& schedule,
                         const std::vector<std::vector<BufferLife>>& lives,
                         const MemorySizes& sizes);

// The plans made so far of one program: ranks of equal sizes, as even splits have them, share one.
// Thread-safe.
class MemoryPlans {
 public:
  // The plan for `sizes`, which make() answers if it is not known.
  std::shared_ptr<const PlannedMemory> Get(const MemorySizes& sizes,
                                           const std::function<PlannedMemory()>& make);

 private:
  static constexpr size_t kKept = 16;  // the latest

  std::mutex mutex_;
  std::deque<std::pair<MemorySizes, std::shared_ptr<const PlannedMemory>>> known_;
};

}  // namespace weft
