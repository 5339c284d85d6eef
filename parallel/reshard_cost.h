// Modelled seconds of conversion steps, from the bytes that the step really moves.
#pragma once

#include "parallel/cost_model.h"
#include "parallel/reshard_step.h"
#include "runtime/tensor_spec.h"

namespace weft {

// The link that the step's messages take: that of the groups along the mesh axis whose layout
// changes, the slowest figures where several change, the link of all ranks between meshes.
LinkCost LinkOf(const ReshardStep& step, const CostModel& cost);

// Seconds of one firing on the busiest rank: what it receives or sends (between meshes, the share
// of all that is sent), one latency per message, and the memory traffic of assembling its part. On
// meshes above 64 ranks, evenly chosen ranks stand for all. `spec` is logical.
struct StepPrice {
  double seconds = 0;
  int64_t bytes = 0;  // sent by all ranks; estimated from those that stand for all
};
StepPrice PriceOf(const ReshardStep& step, const TensorSpec& spec, const CostModel& cost);
double StepSeconds(const ReshardStep& step, const TensorSpec& spec, const CostModel& cost);

// What every step that ends in a layout takes at least: the memory traffic of assembling a part.
double LeastSeconds(const Layout& to, const Mesh& to_mesh, const TensorSpec& spec,
                    const CostModel& cost);

}  // namespace weft
