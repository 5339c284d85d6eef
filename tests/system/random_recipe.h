// Random training graphs: 5 to 30 ops over uneven shapes, random annotations, meshes of up to 8
// ranks with one, two and three axes.
#pragma once

#include <cstdint>

#include "tests/system/graph_recipe.h"

namespace weft::testing {

// The same recipe for the same seed, on every machine. `ops` tells what the ops infer.
GraphRecipe RandomRecipe(uint64_t seed, const OpRegistry& ops);

}  // namespace weft::testing
