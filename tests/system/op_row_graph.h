// The graph of a row of op_rows.h: its op on inputs that lie as the row says, and its gradients;
// and what the graph's outputs are, by the host's account.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "tests/support/host_tensor.h"
#include "tests/system/op_rows.h"

namespace weft::testing {

// All ops, and their kernels on the CPU.
const OpRegistry& AllOps();
const KernelTable& AllKernels();

// "S0.B" as a layout.
Layout ParseShort(const std::string& text);

// The mesh of a row: four ranks from `first_rank` on, as one axis or as 2 x 2.
Mesh MeshOfRow(const OpRow& row, int first_rank = 0);

// The graph of a row and the logical tensors of its inputs.
struct RowGraph {
  Graph graph;
  std::map<std::string, HostTensor> inputs;
};
absl::StatusOr<RowGraph> BuildRow(const OpRow& row, const Mesh& mesh);

// All outputs of the graph, by unsplit kernels.
absl::StatusOr<std::map<std::string, HostTensor>> EvaluateRow(const RowGraph& row);

}  // namespace weft::testing
