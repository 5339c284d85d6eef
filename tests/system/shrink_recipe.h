// Makes a failing recipe smaller for as long as it still fails.
#pragma once

#include <functional>

#include "tests/system/graph_recipe.h"

namespace weft::testing {

// Drops microbatches, annotations, mesh axes, ranks and ops, one at a time, keeping what `fails`
// says still fails, until nothing more can go or `fails` was asked `budget` times.
GraphRecipe Shrink(GraphRecipe recipe, const std::function<bool(const GraphRecipe&)>& fails,
                   int budget = 2000);

}  // namespace weft::testing
