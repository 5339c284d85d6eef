// Runs a graph on all ranks of its mesh: compile, instantiate every rank's plan, run the executors,
// and join what the ranks hold to logical tensors. Ranks are threads of this process, or processes
// of a job.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/compile.h"
#include "runtime/memory_transport.h"
#include "runtime/transport.h"
#include "tests/support/host_tensor.h"

namespace weft::testing {

struct MeshRunOptions {
  int64_t steps = 1;
  int microbatches = 1;
  uint64_t seed = 1;  // of the summands of partial inputs
  SequenceMeeting meeting = SequenceMeeting::kAuto;
  LinkModel links = {};  // of ranks that are threads
  // The logical tensor of an input. Any thread.
  std::function<HostTensor(std::string_view name, int64_t step, int64_t microbatch)> input;
};

struct MeshRun {
  Program program;
  // Logical tensors: outputs of every firing in order ("name"), variables after the last step.
  std::map<std::string, std::vector<HostTensor>> outputs;
  std::map<std::string, HostTensor> variables;
  // By rank, in the mesh's order: sent in all steps, and the plans' word on the same.
  std::vector<int64_t> bytes_sent;
  std::vector<int64_t> bytes_predicted;
};

// Errors: those of compilation and of the ranks; Internal if the ranks' copies of a value differ in
// a bit or an element is nowhere, naming the value.
absl::StatusOr<MeshRun> RunOnMesh(Graph graph, const OpRegistry& ops, const KernelTable& kernels,
                                  const MeshRunOptions& options);

// The same as one rank of a job, which may have more ranks than the mesh: every rank of the mesh
// calls it, with the same graph. The mesh's first rank gets what RunOnMesh answers, the others the
// program and their own bytes. A failure ends the job.
absl::StatusOr<MeshRun> RunAsRank(Graph graph, const OpRegistry& ops, const KernelTable& kernels,
                                  const MeshRunOptions& options, Transport& transport);

}  // namespace weft::testing
