// One rank's part of a run on a mesh: its variables, its plan's steps, and what it holds after
// them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/compile.h"
#include "runtime/transport.h"
#include "tests/support/host_tensor.h"
#include "tests/support/layout_parts.h"
#include "tests/system/mesh_run.h"

namespace weft::testing {

struct RankHeld {
  // Parts of logical tensors: outputs of every firing in order, variables after the last step.
  std::map<std::string, std::vector<HostTensor>> outputs;
  std::map<std::string, HostTensor> variables;
  int64_t bytes_sent = 0;       // in all steps, by the transport's counter
  int64_t bytes_predicted = 0;  // by the plan
};

inline GridLayout GridLayoutOfValue(const Graph& graph, Value v) {
  return GridLayoutOf(graph.info(v).layout, graph.mesh(v));
}

// Runs the plan of the transport's rank, which lies on the program's one mesh. On failure the
// transport is poisoned.
absl::StatusOr<RankHeld> RunRank(const Program& program, const KernelTable& kernels,
                                 const MeshRunOptions& options, Transport& transport);

// What a rank holds as numbers, for a message; and back, for the rank at `index` of the mesh, whose
// boxes follow from the graph's layouts. Internal if the numbers do not fill these.
std::vector<double> ToDoubles(const RankHeld& held);
absl::StatusOr<RankHeld> FromDoubles(const Graph& graph, int index,
                                     const std::vector<double>& values);

}  // namespace weft::testing
