// The reshard planner: any layout to any other, on any meshes, as a shortest path of primitive
// steps. One planner serves layout inference, the graph and tests alike.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "graph/layout.h"
#include "parallel/cost_model.h"
#include "parallel/reshard_step.h"
#include "runtime/tensor_spec.h"

namespace weft {

// The quickest steps found, in order; none if the meshes are equal and the layouts hold the same.
// Intermediate layouts are products of each axis's ends and, where a partial or broadcast end could
// go by way of it, splits of the longest dimension and of those that the end splits; on another
// mesh also the splits of the start, so that parts may cross as they are. Of paths that take
// equally long, one with fewer bytes. What is not looked at, and what that costs:
// docs/decisions/0007-cheapest-is-quickest.md. Deterministic. Error: an illegal layout
// (InvalidArgument).
absl::StatusOr<std::vector<ReshardStep>> PlanReshard(const TensorSpec& spec, const Layout& from,
                                                     const Mesh& from_mesh, const Layout& to,
                                                     const Mesh& to_mesh, const CostModel& cost);

// Modelled seconds of PlanReshard's steps.
absl::StatusOr<double> ReshardSeconds(const TensorSpec& spec, const Layout& from,
                                      const Mesh& from_mesh, const Layout& to, const Mesh& to_mesh,
                                      const CostModel& cost);

}  // namespace weft
