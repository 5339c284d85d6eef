// Compile: from a graph with annotations to one plan per rank.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "parallel/cost_model.h"
#include "parallel/lowered_program.h"
#include "parallel/pass.h"
#include "runtime/plan.pb.h"

namespace weft {

struct CompileOptions {
  int microbatches = 1;
  CostModel cost;
};

// The rank-symbolic result: the graph with layouts and conversions, its actors, their order. Cheap
// to broadcast; every rank instantiates its own plan from it.
struct Program {
  Graph graph;
  LoweredProgram lowered;
  std::vector<int> order;  // GlobalOrder
  std::vector<Conversion> conversions;
  CostModel cost;
};

// Runs the pass pipeline. Errors name the pass and the node.
absl::StatusOr<Program> Compile(Graph graph, const OpRegistry& ops, const CompileOptions& options);

// The plan of one rank of the program's mesh. Thread-safe on a const program.
absl::StatusOr<Plan> InstantiatePlan(const Program& program, int rank);

}  // namespace weft
