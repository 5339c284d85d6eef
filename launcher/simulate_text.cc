#include "launcher/simulate_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "actors/simulation.h"
#include "launcher/cluster.h"
#include "launcher/job_data.h"
#include "launcher/job_graph.h"
#include "launcher/rank_twins.h"
#include "parallel/compile.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr size_t kLongestWaits = 10;

std::string Summary(const Job& job, const Simulation& simulation) {
  const double tokens = static_cast<double>(TargetsPerStep(job));
  const double step = simulation.step_seconds;
  int64_t bytes = 0, most_memory = 0;
  size_t worst = 0;
  for (size_t r = 0; r < simulation.ranks.size(); ++r) {
    const Simulation::Rank& rank = simulation.ranks[r];
    bytes += rank.bytes_sent;
    most_memory = std::max(most_memory, rank.memory_bytes);
    if (rank.exposed_communication > simulation.ranks[worst].exposed_communication) worst = r;
  }
  const double exposed = simulation.ranks[worst].exposed_communication;
  std::string text;
  absl::StrAppendFormat(&text, "step time              %.6g ms\n", step * 1e3);
  absl::StrAppendFormat(&text, "tokens per second      %.6g\n", tokens / step);
  absl::StrAppendFormat(&text, "exposed communication  %.6g ms, %.1f %% of a step, on rank %d\n",
                        exposed * 1e3, step > 0 ? 100 * exposed / step : 0.0, worst);
  absl::StrAppendFormat(&text, "bytes sent             %d by all ranks\n", bytes);
  absl::StrAppendFormat(&text, "planned memory         %d bytes on the fullest rank\n",
                        most_memory);
  return text;
}

std::string RankTable(const Simulation& simulation) {
  std::string text =
      "each rank, a step: stream times and exposed "
      "communication in ms, bytes\n";
  absl::StrAppendFormat(&text, "  %5s", "rank");
  for (const std::string& name : simulation.streams) absl::StrAppendFormat(&text, " %14s", name);
  absl::StrAppendFormat(&text, " %12s %14s %14s\n", "exposed", "sent", "memory");
  for (size_t r = 0; r < simulation.ranks.size(); ++r) {
    const Simulation::Rank& rank = simulation.ranks[r];
    absl::StrAppendFormat(&text, "  %5d", r);
    for (double busy : rank.busy) absl::StrAppendFormat(&text, " %14.6g", busy * 1e3);
    absl::StrAppendFormat(&text, " %12.6g %14d %14d\n", rank.exposed_communication * 1e3,
                          rank.bytes_sent, rank.memory_bytes);
  }
  return text;
}

std::string Waits(const Simulation& simulation) {
  if (simulation.waits.empty()) return "computation waits for nothing\n";
  std::string text =
      "computation waits longest, in ms a step, on the rank "
      "that waits longest:\n";
  const size_t shown = std::min(kLongestWaits, simulation.waits.size());
  for (size_t i = 0; i < shown; ++i) {
    const Simulation::Wait& wait = simulation.waits[i];
    absl::StrAppendFormat(&text, "  %12.6g  rank %d: `%s` waits for `%s`", wait.seconds * 1e3,
                          wait.rank, wait.actor, wait.cause);
    if (wait.late_rank >= 0) {
      absl::StrAppendFormat(&text, ", to which rank %d comes %.6g ms later", wait.late_rank,
                            wait.late_seconds * 1e3);
    }
    absl::StrAppend(&text, "\n");
  }
  if (shown < simulation.waits.size()) {
    absl::StrAppend(&text, "  and ", simulation.waits.size() - shown, " shorter\n");
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> SimulateText(const Job& job, const Cluster& cluster,
                                         const OpRegistry& ops, int steps) {
  WEFT_ASSIGN_OR_RETURN(Graph graph, TrainGraph(job, ops));
  WEFT_ASSIGN_OR_RETURN(const Mesh mesh, MeshOf(job));
  CompileOptions options = CompileOptionsOf(job);
  options.cost = CostModelOf(cluster, mesh.size());
  WEFT_ASSIGN_OR_RETURN(const Program program, Compile(std::move(graph), ops, options));
  const LinkTable links = LinksOf(cluster, mesh);
  WEFT_ASSIGN_OR_RETURN(const std::vector<int> twins, FindTwins(program, links));
  WEFT_ASSIGN_OR_RETURN(
      const Simulation simulation,
      SimulatePlans(
          mesh.size(), [&program](int rank) { return InstantiatePlan(program, rank); }, links,
          steps, twins));
  const int64_t per_node = cluster.ranks_per_node();
  const int64_t nodes = (mesh.size() + per_node - 1) / per_node;
  return absl::StrCat("job ", job.name(), ", mesh {", mesh.ToString(), "}: ", mesh.size(),
                      mesh.size() == 1 ? " rank" : " ranks", " on ", nodes,
                      nodes == 1 ? " node" : " nodes", " of cluster ", cluster.name(), "; ", steps,
                      steps == 1 ? " step" : " steps", " on virtual streams\n",
                      Summary(job, simulation), RankTable(simulation), Waits(simulation));
}

}  // namespace weft
