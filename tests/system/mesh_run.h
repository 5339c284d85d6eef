// Runs a graph on all ranks of its mesh, threads of this process: compile, instantiate every rank's
// plan, run the executors over an in-memory network, and join what the ranks hold to logical
// tensors.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/compile.h"
#include "tests/support/host_tensor.h"

namespace weft::testing {

struct MeshRunOptions {
  int64_t steps = 1;
  int microbatches = 1;
  uint64_t seed = 1;  // of the summands of partial inputs
  // The logical tensor of an input. Any thread.
  std::function<HostTensor(std::string_view name, int64_t step, int64_t microbatch)> input;
};

struct MeshRun {
  Program program;
  // Logical tensors: outputs of every firing in order ("name"), variables after the last step.
  std::map<std::string, std::vector<HostTensor>> outputs;
  std::map<std::string, HostTensor> variables;
  int64_t bytes_sent = 0;       // by all ranks in all steps
  int64_t bytes_predicted = 0;  // the plans' word on the same
};

// Errors: those of compilation and of the ranks; Internal if the ranks' copies of a value differ in
// a bit or an element is nowhere, naming the value.
absl::StatusOr<MeshRun> RunOnMesh(Graph graph, const OpRegistry& ops, const KernelTable& kernels,
                                  const MeshRunOptions& options);

}  // namespace weft::testing
