// How long the compiler takes, by ops of the graph: decoders of growing depth on a mesh, from the
// differentiated graph to one rank's plan, phase by phase, and the size of the plan.
//
//   bench_compile [--ops 1000,10000,76000 | --layers 96 | --job FILE --cluster FILE]
//                 [--mesh data:2,model:2]
//
// One JSON line per size; or, with --job, one for that job: its time phase by phase from building
// the graph to the plans of all kinds of ranks and their simulation, the largest plan, and the
// process's peak memory.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "graph/decoder.h"
#include "graph/graph_builder.h"
#include "graph/optimizer.h"
#include "kernels/all_ops.h"
#include "launcher/cluster.h"
#include "launcher/job.h"
#include "launcher/job_graph.h"
#include "launcher/rank_twins.h"
#include "parallel/compile.h"
#include "parallel/infer_layouts.h"
#include "runtime/status.h"

namespace weft {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

absl::StatusOr<Graph> Decoder(const OpRegistry& ops, int layers, const std::string& mesh) {
  absl::StatusOr<Mesh> parsed = Mesh::Parse(mesh);
  if (!parsed.ok()) return parsed.status();
  GraphBuilder g(ops, *parsed);
  const DecoderConfig config = {
      .layers = layers, .hidden = 64, .heads = 4, .ffn = 128, .vocab = 256};
  const Value loss = BuildDecoderLoss(g, config, /*batch=*/8, /*sequence=*/32, DType::kF32);
  const absl::Status status = AddOptimizer(g, loss, {.clip_norm = 1});
  if (!status.ok()) return status;
  return g.Build();
}

// Seconds of layout inference alone, and what it says of its result.
absl::StatusOr<double> InferSeconds(const OpRegistry& ops, Graph graph,
                                    LayoutCertificate* certificate) {
  const CostModel cost;
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status status =
      InferLayouts(graph, {.ops = ops, .cost = cost, .certificate = certificate});
  if (!status.ok()) return status;
  return SecondsSince(begin);
}

// The layers of a decoder with so many ops: they grow linearly, and two small graphs tell how.
absl::StatusOr<int> LayersOf(const OpRegistry& ops, int wanted, const std::string& mesh) {
  absl::StatusOr<Graph> two = Decoder(ops, 2, mesh), four = Decoder(ops, 4, mesh);
  if (!two.ok()) return two.status();
  if (!four.ok()) return four.status();
  const int per_layer = static_cast<int>(four->nodes.size() - two->nodes.size()) / 2;
  const int fixed = static_cast<int>(two->nodes.size()) - 2 * per_layer;
  return std::max(1, (wanted - fixed + per_layer - 1) / per_layer);
}

absl::Status Measure(const OpRegistry& ops, int layers, const std::string& mesh) {
  auto begin = std::chrono::steady_clock::now();
  absl::StatusOr<Graph> graph = Decoder(ops, layers, mesh);
  const double build = SecondsSince(begin);
  if (!graph.ok()) return graph.status();
  const size_t nodes = graph->nodes.size();

  LayoutCertificate certificate;
  const absl::StatusOr<double> infer = InferSeconds(ops, *graph, &certificate);
  if (!infer.ok()) return infer.status();

  begin = std::chrono::steady_clock::now();
  absl::StatusOr<Program> program = Compile(*std::move(graph), ops, CompileOptions());
  const double compile = SecondsSince(begin);
  if (!program.ok()) return program.status();

  begin = std::chrono::steady_clock::now();
  absl::StatusOr<Plan> plan = InstantiatePlan(*program, 0);
  const double instantiate = SecondsSince(begin);
  if (!plan.ok()) return plan.status();
  std::printf(
      "{\"benchmark\": \"compile\", \"ops\": %zu, \"mesh\": \"%s\", \"layers\": %d, \"actors\": "
      "%zu, "
      "\"build_s\": %.3f, \"layouts_s\": %.3f, \"layouts\": \"%s\", \"compile_s\": %.3f, "
      "\"plan_s\": %.3f, \"total_s\": %.3f, \"plan_mb\": %.2f}\n",
      nodes, mesh.c_str(), layers, program->stages[0].lowered.actors.size(), build, *infer,
      certificate.Text(), compile, instantiate, build + compile + instantiate,
      static_cast<double>(plan->ByteSizeLong()) / 1e6);
  std::fflush(stdout);
  return absl::OkStatus();
}

int64_t PeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

absl::Status MeasureJob(const OpRegistry& ops, const std::string& path,
                        const std::string& cluster_path) {
  WEFT_ASSIGN_OR_RETURN(const Job job, LoadJob(path));
  WEFT_ASSIGN_OR_RETURN(const Cluster cluster, LoadCluster(cluster_path));
  WEFT_ASSIGN_OR_RETURN(const Mesh mesh, MeshOf(job));
  auto begin = std::chrono::steady_clock::now();
  const auto lap = [&begin] {
    const double seconds = SecondsSince(begin);
    begin = std::chrono::steady_clock::now();
    return seconds;
  };
  WEFT_ASSIGN_OR_RETURN(Graph graph, TrainGraph(job, ops));
  const size_t nodes = graph.nodes.size();
  const double build = lap();
  CompileOptions options = CompileOptionsOf(job);
  options.cost = CostModelOf(cluster, mesh.size());
  WEFT_ASSIGN_OR_RETURN(const Program program, Compile(std::move(graph), ops, options));
  const double compile = lap();
  const LinkTable links = LinksOf(cluster, mesh);
  WEFT_ASSIGN_OR_RETURN(const std::vector<int> twins, FindTwins(program, links));
  const double kinds_seconds = lap();
  std::map<int, Plan> plans;
  size_t largest = 0;
  for (int rank = 0; rank < mesh.size(); ++rank) {
    if (twins[rank] != rank) continue;
    WEFT_ASSIGN_OR_RETURN(plans[rank], InstantiatePlan(program, rank));
    largest = std::max(largest, plans[rank].ByteSizeLong());
  }
  const double instantiate = lap();
  WEFT_ASSIGN_OR_RETURN(
      const Simulation simulation,
      SimulatePlans(
          mesh.size(), [&plans](int rank) -> absl::StatusOr<Plan> { return plans.at(rank); }, links,
          /*steps=*/4, twins));
  const double simulate = lap();
  std::printf(
      "{\"benchmark\": \"compile_job\", \"job\": \"%s\", \"ops\": %zu, \"mesh\": \"%s\", "
      "\"ranks\": %d, \"kinds_of_ranks\": %zu, \"build_s\": %.3f, \"compile_s\": %.3f, "
      "\"kinds_s\": %.3f, \"plans_s\": %.3f, \"simulate_s\": %.3f, \"total_s\": %.3f, "
      "\"largest_plan_mb\": %.2f, \"peak_rss_mb\": %.0f, \"predicted_step_s\": %.3f}\n",
      job.name().c_str(), nodes, mesh.ToString().c_str(), mesh.size(), plans.size(), build, compile,
      kinds_seconds, instantiate, simulate,
      build + compile + kinds_seconds + instantiate + simulate, static_cast<double>(largest) / 1e6,
      static_cast<double>(PeakBytes()) / 1e6, simulation.step_seconds);
  return absl::OkStatus();
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  CLI::App app("Compile time by ops");
  std::vector<int> sizes = {1000, 10000, 76000};
  std::string mesh = "data:2,model:2";
  app.add_option("--ops", sizes)->delimiter(',')->check(CLI::PositiveNumber);
  int layers = 0;
  app.add_option("--layers", layers, "one decoder of this depth instead")
      ->check(CLI::PositiveNumber);
  app.add_option("--mesh", mesh);
  std::string job, cluster;
  CLI::Option* job_option = app.add_option("--job", job);
  CLI::Option* cluster_option = app.add_option("--cluster", cluster)->needs(job_option);
  job_option->needs(cluster_option);
  CLI11_PARSE(app, argc, argv);
  weft::OpRegistry ops;
  weft::DefineAllOps(ops);
  if (!job.empty()) {
    const absl::Status status = weft::MeasureJob(ops, job, cluster);
    if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return status.ok() ? 0 : 1;
  }
  if (layers > 0) sizes = {0};
  for (const int size : sizes) {
    const absl::StatusOr<int> depth =
        layers > 0 ? absl::StatusOr<int>(layers) : weft::LayersOf(ops, size, mesh);
    const absl::Status status = depth.ok() ? weft::Measure(ops, *depth, mesh) : depth.status();
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
      return 1;
    }
  }
  return 0;
}
