// Where in the model an op belongs: its layer, by the scopes of names, and its part of the step.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
#include "launcher/plan_report.h"

namespace weft {

struct PlanPlace {
  int block = 0;
  PlanPart part = PlanPart::kForward;
};

// Names alone decide: "grad." is backward, "optimizer." and "clip." are the optimizer's; the scope
// up to its first number is the block ("layers.3" of "grad.layers.3.mlp.einsum"). Ops of no
// numbered scope are "before the layers" or "after the layers", by where their forward part stands.
// A conversion lies with the op that makes its operand, one of a variable or an input with its
// consumer.
struct PlanPlaces {
  std::vector<PlanPlace> nodes;           // parallel to Graph::nodes
  std::vector<PlanPlace> values;          // parallel to Graph::values
  std::vector<PlanReport::Block> blocks;  // in the order of the forward part; same_as is not set
};
PlanPlaces FindPlaces(const Graph& graph);

}  // namespace weft
