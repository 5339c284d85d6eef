// Compile: from a graph with annotations to one plan per rank.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "parallel/conversion_limits.h"
#include "parallel/cost_model.h"
#include "parallel/pass.h"
#include "parallel/stage_program.h"
#include "runtime/device_kind.h"
#include "runtime/plan.pb.h"

namespace weft {

struct CompileOptions {
  int microbatches = 1;
  CostModel cost;
  DeviceKind device = DeviceKind::kCpu;  // where the plans will run; needs not be here
  int64_t memory_bytes = 0;  // what arena and variables of a rank may take together; 0: no bound
  // Whether optimizer states are split over mesh axes named "data": where the bound asks for it.
  enum class ShardStates : uint8_t { kWhenShort, kAlways, kNever };
  ShardStates shard_states = ShardStates::kAlways;
  SequenceMeeting meeting = SequenceMeeting::kAuto;
  ConversionLimits conversions;
};

// The rank-symbolic result: the graph with layouts and conversions, its actors, their order, once
// for every pipeline stage. Cheap to broadcast; every rank instantiates its own plan from it.
struct Program {
  Graph graph;
  std::vector<StageProgram> stages;  // one if all ranks lie on the same meshes
  std::vector<Conversion> conversions;
  LayoutCertificate layouts;
  CostModel cost;
  DeviceKind device = DeviceKind::kCpu;
  int64_t memory_bytes = 0;

  // The part that the rank runs, or nullptr if it lies on no mesh.
  const StageProgram* StageOf(int rank) const;
};

// Runs the pass pipeline; once more with split states where whole ones do not fit. Errors name the
// pass and the node; conversions beyond the limits are FailedPrecondition and listed.
absl::StatusOr<Program> Compile(Graph graph, const OpRegistry& ops, const CompileOptions& options);

// The plan of one rank of the program's meshes. Thread-safe on a const program. Error: the rank
// needs more than program.memory_bytes (ResourceExhausted, with the largest holders).
absl::StatusOr<Plan> InstantiatePlan(const Program& program, int rank);

}  // namespace weft
