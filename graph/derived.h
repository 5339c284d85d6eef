// What a node says of its results without being told: their names and their rate. The builder's
// rules once more, shared by both directions of the text form, which leaves out what they give.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "graph/graph.h"

namespace weft {

// The node's name, with ":<result>" if the op has several results.
inline std::string DefaultResultName(const Node& node, int result) {
  if (node.is_reshard() || node.op->outputs.size() <= 1) return node.name;
  return absl::StrCat(node.name, ":", node.op->outputs[result]);
}

// Once per microbatch if any operand is made so and the op does not sum over microbatches.
inline Rate DerivedRate(const Graph& graph, const Node& node) {
  if (!node.is_reshard() && node.op->sums_microbatches) return Rate::kStep;
  for (Value v : node.inputs) {
    if (v && graph.info(v).rate == Rate::kMicrobatch) return Rate::kMicrobatch;
  }
  return Rate::kStep;
}

}  // namespace weft
