#include "tests/system/mesh_run.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/status.h"
#include "tests/support/double_messages.h"
#include "tests/support/layout_parts.h"
#include "tests/support/run_ranks.h"
#include "tests/system/rank_run.h"

namespace weft::testing {
namespace {

absl::StatusOr<Program> CompileFor(Graph graph, const OpRegistry& ops,
                                   const MeshRunOptions& options) {
  CompileOptions compile;
  compile.microbatches = options.microbatches;
  compile.meeting = options.meeting;
  return Compile(std::move(graph), ops, compile);
}

absl::StatusOr<HostTensor> JoinValue(const Graph& graph, Value v, const std::string& name,
                                     const std::vector<HostTensor>& parts) {
  absl::StatusOr<HostTensor> whole = Join(graph.spec(v), GridLayoutOfValue(graph, v), parts);
  WEFT_RETURN_IF_ERROR(
      Annotate(whole.status(),
               absl::StrCat("'", name, "' ", ToString(graph.info(v).layout, graph.meshes[0]))));
  return whole;
}

// Joins what the ranks hold, in the mesh's order, into `run`.
absl::Status Collect(const std::vector<RankHeld>& ranks, MeshRun& run) {
  const Graph& graph = run.program.graph;
  for (const RankHeld& held : ranks) {
    run.bytes_sent.push_back(held.bytes_sent);
    run.bytes_predicted.push_back(held.bytes_predicted);
  }
  for (const GraphOutput& output : graph.outputs) {
    const size_t firings = ranks[0].outputs.at(output.name).size();
    for (size_t firing = 0; firing < firings; ++firing) {
      std::vector<HostTensor> parts;
      for (const RankHeld& held : ranks) {
        const std::vector<HostTensor>& mine = held.outputs.at(output.name);
        if (mine.size() != firings) {
          return absl::InternalError(absl::StrCat("ranks have '", output.name, "' of ", firings,
                                                  " and ", mine.size(), " firings"));
        }
        parts.push_back(mine[firing]);
      }
      WEFT_ASSIGN_OR_RETURN(HostTensor whole, JoinValue(graph, output.value, output.name, parts));
      run.outputs[output.name].push_back(std::move(whole));
    }
  }
  for (const Variable& variable : graph.variables) {
    std::vector<HostTensor> parts;
    for (const RankHeld& held : ranks) parts.push_back(held.variables.at(variable.name));
    WEFT_ASSIGN_OR_RETURN(run.variables[variable.name],
                          JoinValue(graph, variable.value, variable.name, parts));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MeshRun> RunOnMesh(Graph graph, const OpRegistry& ops, const KernelTable& kernels,
                                  const MeshRunOptions& options) {
  MeshRun run;
  WEFT_ASSIGN_OR_RETURN(run.program, CompileFor(std::move(graph), ops, options));
  const int size = run.program.graph.meshes[0].size();
  std::vector<absl::Status> statuses(size);
  std::vector<RankHeld> held(size);
  RunRanks(size, options.links, [&](Transport& transport) {
    const int rank = transport.rank();
    absl::StatusOr<RankHeld> mine = RunRank(run.program, kernels, options, transport);
    statuses[rank] = mine.status();
    if (mine.ok()) held[rank] = *std::move(mine);
  });
  for (const absl::Status& status : statuses) WEFT_RETURN_IF_ERROR(status);
  WEFT_RETURN_IF_ERROR(Collect(held, run));
  return run;
}

absl::StatusOr<MeshRun> RunAsRank(Graph graph, const OpRegistry& ops, const KernelTable& kernels,
                                  const MeshRunOptions& options, Transport& transport) {
  MeshRun run;
  WEFT_ASSIGN_OR_RETURN(run.program, CompileFor(std::move(graph), ops, options));
  const Mesh& mesh = run.program.graph.meshes[0];
  WEFT_ASSIGN_OR_RETURN(RankHeld mine, RunRank(run.program, kernels, options, transport));
  if (transport.rank() != mesh.ranks()[0]) {
    WEFT_RETURN_IF_ERROR(SendDoubles(transport, mesh.ranks()[0], ToDoubles(mine)));
    run.bytes_sent = {mine.bytes_sent};
    run.bytes_predicted = {mine.bytes_predicted};
    return run;
  }
  std::vector<RankHeld> held;
  held.push_back(std::move(mine));
  for (int index = 1; index < mesh.size(); ++index) {
    WEFT_ASSIGN_OR_RETURN(const std::vector<double> values,
                          ReceiveDoubles(transport, mesh.ranks()[index]));
    WEFT_ASSIGN_OR_RETURN(RankHeld of_rank, FromDoubles(run.program.graph, index, values));
    held.push_back(std::move(of_rank));
  }
  WEFT_RETURN_IF_ERROR(Collect(held, run));
  return run;
}

}  // namespace weft::testing
