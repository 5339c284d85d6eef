// A handful of ops without kernels, and a plain evaluator for them, so that the graph library is
// tested alone. Names and attributes are those of weft's own ops where these exist.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace weft::testing {

// add, mul, scale, square, matmul, reduce_sum, broadcast_to, reshape, cast, halves (two results),
// pick (an optional operand), floor (no gradient), fill, random_normal, accumulate, add_n,
// sum_squares, clip_scale, loss_scale_update, sgd, adamw, lamb_update, lamb_apply.
OpRegistry ToyOps();

using Numbers = std::vector<double>;
// The content of one input for each microbatch (one entry for a per-step input).
using Feeds = std::map<std::string, std::vector<Numbers>>;

struct StepResult {
  std::map<std::string, Numbers> outputs;  // per-step outputs by name
  std::map<std::string, Numbers> updates;  // new content of variables by name
};

// Runs one step over `microbatches` in f64: every node in order, per-microbatch ones that often.
// Variables not in `variables` hold zeros. Knows all ops above but the optimizers save sgd.
StepResult RunStep(const Graph& graph, int microbatches, const Feeds& feeds,
                   const std::map<std::string, Numbers>& variables);

}  // namespace weft::testing
