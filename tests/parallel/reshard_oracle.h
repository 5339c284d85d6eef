// A host oracle for conversions: parts of a logical array as every rank should hold them, and the
// execution of planned steps from the plan's messages alone, for all ranks, on host arrays.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "graph/layout.h"
#include "parallel/reshard_step.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Rank -> its part, dense row-major over its box.
using Parts = std::map<int, std::vector<double>>;

// The logical array that all cases use: small integers, all neighbours different.
std::vector<double> LogicalArray(const TensorSpec& spec);
// What every rank of the mesh holds. Partial copies differ and combine to the array exactly.
Parts Cut(const std::vector<double>& logical, const TensorSpec& spec, const Layout& layout,
          const Mesh& mesh);
// Whether `parts` are `logical` under the layout: each rank's part for split and broadcast layouts,
// the combination of each group of copies for partial ones. Empty if so, else what is wrong.
std::string Mismatch(const Parts& parts, const std::vector<double>& logical, const TensorSpec& spec,
                     const Layout& layout, const Mesh& mesh);
// Runs one step on all ranks. `bytes` gets what was sent in exchanges, or for all-reduces what
// BytesSent says. Fails the test if sends and receives do not match, or BytesSent is wrong.
Parts Execute(const ReshardStep& step, const TensorSpec& spec, const Parts& parts, int64_t* bytes);

}  // namespace weft
